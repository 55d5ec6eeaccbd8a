// SPDX-License-Identifier: Apache-2.0
// clients_node.js - the client `redis` of Node.js at work with a server; test_clients.py runs it with
// the server's address in REDIS_URL. What is asked in one turn of the event loop goes out as one
// pipeline. Ends with 1 at the first reply that is not what Redis says.
'use strict';
const assert = require('assert');
const redis = require('redis');

async function strings(client) {
    assert.strictEqual(await client.set('a', 'ü', {EX: 100, NX: true}), 'OK');
    assert.strictEqual(await client.set('a', 'x', {NX: true}), null);
    assert.strictEqual(await client.get('a'), 'ü');
    assert.ok(await client.ttl('a') > 90);
    await client.mSet({b: '1', c: '2'});
    assert.deepStrictEqual(await client.mGet(['b', 'none', 'c']), ['1', null, '2']);
    const bytes = Buffer.from([0, 255, 13, 10]);
    await client.set('bytes', bytes);
    const options = redis.commandOptions({returnBuffers: true});
    assert.ok(bytes.equals(await client.get(options, 'bytes')));
    await assert.rejects(client.incr('a'), /not an integer/);
}

async function pipeline(client) {
    const numbers = await Promise.all(Array.from({length: 5000}, () => client.incr('n')));
    assert.deepStrictEqual(numbers, Array.from({length: 5000}, (_, i) => i + 1));
}

async function transactions(client) {
    assert.deepStrictEqual(await client.multi().set('t', '1').incr('t').exec(), ['OK', 2]);
    await client.executeIsolated(async (mine) => {
        await mine.watch('t');
        await client.set('t', '9');
        await assert.rejects(mine.multi().set('t', '3').exec(), redis.WatchError);
    });
    assert.strictEqual(await client.get('t'), '9');
}

async function scan(client) {
    const seen = new Set();
    await Promise.all(Array.from({length: 500}, (_, i) => client.set(`scan:${i}`, 'x')));
    for await (const key of client.scanIterator({MATCH: 'scan:*', COUNT: 50}))
        seen.add(key);
    assert.strictEqual(seen.size, 500);
}

async function main() {
    const client = redis.createClient({url: process.env.REDIS_URL,
        socket: {reconnectStrategy: () => new Error('no connection')}});
    client.on('error', () => {});
    await client.connect();
    await client.flushDb();
    for (const part of [strings, pipeline, transactions, scan]) {
        await part(client);
        console.log(`node: ${part.name}`);
    }
    await client.quit();
}

main().catch((error) => { console.error(error); process.exitCode = 1; });
