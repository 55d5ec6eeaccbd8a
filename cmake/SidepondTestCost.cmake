# SPDX-License-Identifier: Apache-2.0
# What tests ask of the machine, as far as it is not the ordinary: a processor each, and a few
# seconds. As a run of all on two processors took; wrong values cost time, and nothing else.

# They mostly wait, for pauses, time-outs and servers, and keep less than half a processor busy.
set(sidepond_tests_waiting
    agent daemon daemon_mariadb daemon_mariadb_feed daemon_postgresql feed_mongodb_set member
    ring_away ring_daemon ring_repair ring_restart ring_tutorial test_feed test_feed_fault
    test_feed_pg_odd test_feed_pg_shapes test_feed_pg_slots test_feed_postgresql test_feed_reload
    test_refresh test_refresh_calls test_ring_sources test_source_mariadb test_source_mariadb_feed
    test_source_mariadb_types test_source_pg_types test_source_postgresql tool_ring top)

# Many processes, which mostly wait for each other: one processor is enough, whatever the test says.
set(sidepond_tests_narrow
    check lease ring_commands ring_faults ring_faults_agent ring_faults_broken
    ring_faults_broken_apply ring_faults_redis ring_faults_zookeeper tracking)

# They compile or check with as many processes as there are processors, and no test says so.
set(sidepond_tests_wide lint_tidy quickstart)

# Name and seconds of the longest, which begin first.
set(sidepond_tests_long
    lint_tidy 60 quickstart 60 python 50 bench_ring_failover 47 protocol 45 ring_away 37 soak 32
    relief 30 test_feed_postgresql 28 ring_restart 28 member 25 soak_faults 25
    daemon_postgresql 20 tracking 19 replication 19 ring_repair 19 test_feed_pg_shapes 17
    agent 16 feed_mongodb_set 16 test_source_mariadb_feed 16 test_source_mariadb 14
    test_source_postgresql 13 torture 12 daemon_mariadb 12 differential 12
    ring_faults_broken 12 ring_faults_agent 12 bench_expiry 12 test_hostile 10 test_feed_fault 10)

# What they run, others run too: the coverage build goes without.
set(sidepond_tests_covering_nothing
    clients feed_faults feed_faults_mariadb feed_faults_mongodb feed_faults_mongodb_images
    feed_faults_mongodb_set feed_faults_mongodb_where look_aside ring_faults)
