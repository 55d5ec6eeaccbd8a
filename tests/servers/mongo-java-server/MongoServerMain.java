/* SPDX-License-Identifier: Apache-2.0
 *
 * MongoServerMain.java - mongo-java-server as one program for tests: MongoServerMain ADDRESS PORT
 * [bare]. It keeps its data in memory, has change streams unless it is "bare" (writing is then ten
 * times as quick), and ends with SIGTERM or SIGINT. It says that it is a MongoDB 5.0.
 */
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.ServerVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

public final class MongoServerMain {
    private MongoServerMain() {
    }

    public static void main(String[] arguments) {
        if (arguments.length < 2 || arguments.length > 3) {
            System.err.println("usage: MongoServerMain ADDRESS PORT [bare]");
            System.exit(2);
        }
        MemoryBackend backend = new MemoryBackend();
        backend.version(ServerVersion.MONGO_5_0);
        MongoServer server = new MongoServer(backend);
        if (arguments.length == 2) {
            server.enableOplog();
        }
        server.bind(arguments[0], Integer.parseInt(arguments[1]));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    }
}
