package example;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** Where the records go: what this application is there for. */
final class Target {
    /** It has seen a higher token: another replica is active. */
    static final class Fenced extends Exception {
        Fenced(String words) {
            super(words);
        }
    }

    /** Shorter than the sidecar's MARGIN: what was begun inside of the permission ends inside of the term. */
    private static final Duration WITHIN = Duration.ofMillis(400);

    private final HttpClient client = HttpClient.newBuilder().connectTimeout(WITHIN).build();
    private final URI uri;

    Target(URI uri) {
        this.uri = uri;
    }

    /** Sends the record with the fencing token, of which the target refuses (412) one that is lower than another. */
    void send(ConsumerRecord<String, String> record, long token) throws IOException, InterruptedException, Fenced {
        HttpRequest request = HttpRequest.newBuilder(uri)
                .timeout(WITHIN)
                .header("Leasehold-Token", Long.toString(token))
                .header("Kafka-Partition", Integer.toString(record.partition()))
                .header("Kafka-Offset", Long.toString(record.offset()))
                .POST(BodyPublishers.ofString(record.value()))
                .build();
        var answer = client.send(request, BodyHandlers.ofString());
        if (answer.statusCode() == 412) {
            throw new Fenced(answer.body());
        }
        if (answer.statusCode() / 100 != 2) {
            throw new IOException(uri + ": " + answer.statusCode() + " " + answer.body());
        }
    }
}
