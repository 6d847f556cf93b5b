import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Makes a topic of three partitions, and sends numbers to it until SIGTERM: {@code Producer BROKERS TOPIC PAUSE_MS}. */
public final class Producer {
    private static volatile boolean ending;

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
        }
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            ending = true;
            try {
                main.join();
            } catch (InterruptedException interrupted) {
                System.out.println("interrupted");
            }
        }));
        var config = Map.<String, Object>of(
                "bootstrap.servers", arguments[0],
                "key.serializer", StringSerializer.class,
                "value.serializer", StringSerializer.class);
        try (var producer = new KafkaProducer<String, String>(config)) {
            System.out.println("ready");
            for (long number = 0; !ending; number++) {
                String text = Long.toString(number);
                producer.send(new ProducerRecord<>(topic, "key-" + number % 16, text), (sent, error) -> System.out.println(
                        error == null ? "acked " + text + " " + sent.partition() + " " + sent.offset() : "failed " + text + " " + error));
                Thread.sleep(Long.parseLong(arguments[2]));
            }
        }
        System.out.println("ended");
    }
}
