/* SPDX-License-Identifier: Apache-2.0
 *
 * MongoServerMain.java - mongo-java-server as one program for tests: MongoServerMain ADDRESS PORT
 * [VERSION]. It keeps its data in memory, has change streams, and ends with SIGTERM or SIGINT.
 * VERSION is one of MONGO_3_6, MONGO_4_0, MONGO_5_0: what it says it is.
 */
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.ServerVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

public final class MongoServerMain {
    private MongoServerMain() {
    }

    public static void main(String[] arguments) {
        if (arguments.length < 2 || arguments.length > 3) {
            System.err.println("usage: MongoServerMain ADDRESS PORT [VERSION]");
            System.exit(2);
        }
        String version = arguments.length == 3 ? arguments[2] : "MONGO_5_0";
        MemoryBackend backend = new MemoryBackend();
        backend.version(ServerVersion.valueOf(version));
        MongoServer server = new MongoServer(backend);
        server.enableOplog();
        server.bind(arguments[0], Integer.parseInt(arguments[1]));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    }
}
