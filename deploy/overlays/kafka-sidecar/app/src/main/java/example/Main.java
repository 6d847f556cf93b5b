package example;

import java.net.URI;

/**
 * One active consumer of a topic, and replicas that stand by. There is no election in here: the sidecar says who is active.
 *
 * <p>Environment: PORT (8080) on loopback for the sidecar, KAFKA (bootstrap servers), TOPIC, GROUP, TARGET_URL.
 */
public final class Main {
    public static void main(String[] arguments) throws Exception {
        Permission permission = new Permission();
        Target target = new Target(URI.create(env("TARGET_URL", null)));
        ActiveConsumer consumer =
                new ActiveConsumer(permission, target, env("KAFKA", null), env("GROUP", "example"), env("TOPIC", null));
        Endpoints endpoints = new Endpoints(Integer.parseInt(env("PORT", "8080")), permission, consumer);
        Thread main = Thread.currentThread();
        // At SIGTERM: the sidecar hears of it with its next call (410), and switches this one off. Or the permission runs out.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            endpoints.end();
            try {
                while (permission.isValid()) {
                    Thread.sleep(10);
                }
                consumer.end();
                main.join();
            } catch (InterruptedException interrupted) {
                System.err.println("interrupted: ends at once");
            }
            endpoints.close();
        }));
        try {
            consumer.run();
        } catch (RuntimeException | Error error) {
            error.printStackTrace();
            // Not `exit`, which would wait for this very thread. Whoever started this starts another one.
            Runtime.getRuntime().halt(1);
        }
    }

    private static String env(String name, String otherwise) {
        String value = System.getenv().getOrDefault(name, otherwise);
        if (value == null) {
            System.err.println(name + " is not set");
            System.exit(2);
        }
        return value;
    }
}
