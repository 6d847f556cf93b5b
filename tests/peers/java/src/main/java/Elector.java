import io.kubernetes.client.extended.leaderelection.LeaderElectionConfig;
import io.kubernetes.client.extended.leaderelection.LeaderElector;
import io.kubernetes.client.extended.leaderelection.resourcelock.LeaseLock;
import io.kubernetes.client.util.ClientBuilder;
import io.kubernetes.client.util.KubeConfig;
import java.io.FileReader;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;

/**
 * An elector made with the Java client's LeaderElector. On SIGTERM it stops leading first, and then
 * gives the Lease up: {@code LeaderElector.close()} alone does it the other way round.
 */
public final class Elector {
  private static final DateTimeFormatter MICROS =
      DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);

  public static void main(String[] args) throws Exception {
    if (args.length != 2) {
      System.err.println("usage: Elector LEASE IDENTITY (and KUBECONFIG and the durations in the environment)");
      System.exit(2);
    }
    LeaseLock lock;
    try (FileReader kubeconfig = new FileReader(System.getenv("KUBECONFIG"))) {
      var client = ClientBuilder.kubeconfig(KubeConfig.loadKubeConfig(kubeconfig)).build();
      lock = new LeaseLock("default", args[0], args[1], client);
    }
    LeaderElector elector =
        new LeaderElector(
            new LeaderElectionConfig(
                lock, seconds("LEASE_DURATION"), seconds("RENEW_DEADLINE"), seconds("RETRY_PERIOD")));
    Thread election =
        new Thread(
            () ->
                elector.run(
                    () -> say("guest-output"), () -> say("guest-stopped"), identity -> say("new-leader")));
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  election.interrupt();
                  try {
                    election.join();
                  } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                  }
                  elector.close();
                }));
    say("candidate");
    election.start();
    election.join();
    System.exit(0);
  }

  /** "15s". */
  private static Duration seconds(String name) {
    return Duration.parse("PT" + System.getenv(name));
  }

  // In the words of Leasehold's log.
  private static void say(String event) {
    System.out.printf("{\"timestamp\":\"%s\",\"event\":\"%s\"}%n", MICROS.format(Instant.now()), event);
    System.out.flush();
  }
}
