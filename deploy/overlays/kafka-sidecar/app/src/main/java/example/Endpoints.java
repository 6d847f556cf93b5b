package example;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** What the sidecar calls: {@code /activate}, {@code /deactivate}, {@code /health}. On loopback only. */
final class Endpoints {
    /** What there is to switch. */
    interface Work {
        /** Waits until nothing is being done any more; says whether that is so. */
        boolean awaitIdle(Duration atMost) throws InterruptedException;

        /** Why it cannot do its work, or null. */
        String trouble();
    }

    /** Shorter than the sidecar's CALL_TIMEOUT, so that it gets an answer. It asks again. */
    private static final Duration IDLE_WITHIN = Duration.ofMillis(400);

    private final Permission permission;
    private final Work work;
    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private volatile boolean ending;

    Endpoints(int port, Permission permission, Work work) throws IOException {
        this.permission = permission;
        this.work = work;
        server = HttpServer.create(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), port), 0);
        server.createContext("/activate", this::activate);
        server.createContext("/deactivate", this::deactivate);
        server.createContext("/health", this::health);
        server.setExecutor(threads);
        server.start();
    }

    /** From now on the sidecar is told to let another replica lead. */
    void end() {
        ending = true;
    }

    /** Lets the answer out that says that all is off: without it, the sidecar would wait until the permission is over. */
    void close() {
        server.stop(1);
        threads.shutdownNow();
    }

    private void activate(HttpExchange call) throws IOException {
        if (ending) {
            answer(call, 410, "ending");
            return;
        }
        call.getResponseHeaders().set("Leasehold-Clock", permission.clock());
        String clock = call.getRequestHeaders().getFirst("Leasehold-Clock");
        boolean granted =
                permission.grant(number(call, "Leasehold-Token"), clock, number(call, "Leasehold-Valid-For-Ms"));
        answer(call, granted ? 200 : 409, granted ? "active" : "send this Leasehold-Clock back");
    }

    private void deactivate(HttpExchange call) throws IOException {
        if (!permission.withdraw(number(call, "Leasehold-Token"))) {
            answer(call, 409, "a call of an earlier term");
            return;
        }
        try {
            // 200 says that nothing is being done any more. The Lease is released on that word.
            boolean idle = work.awaitIdle(IDLE_WITHIN);
            answer(call, idle ? 200 : 503, idle ? "off" : "something is still being done");
        } catch (InterruptedException interrupted) {
            answer(call, 503, "ending");
        }
    }

    private void health(HttpExchange call) throws IOException {
        String trouble = work.trouble();
        answer(call, trouble == null ? 200 : 503, trouble == null ? "well" : trouble);
    }

    private static long number(HttpExchange call, String header) {
        String value = call.getRequestHeaders().getFirst(header);
        return value == null ? 0 : Long.parseLong(value);
    }

    private static void answer(HttpExchange call, int status, String words) throws IOException {
        byte[] body = (words + "\n").getBytes(java.nio.charset.StandardCharsets.UTF_8);
        call.sendResponseHeaders(status, body.length);
        call.getResponseBody().write(body);
        call.close();
    }
}
