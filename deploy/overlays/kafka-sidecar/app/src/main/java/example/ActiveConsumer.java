package example;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Consumes all partitions of a topic while there is a {@link Permission}, and not at all while there is none.
 *
 * <p>All replicas have the same {@code group.instance.id}: for Kafka they are one static member that moves. One that has just
 * become active takes all partitions at once, without waiting for a session to time out, and the broker refuses what its
 * predecessor still wants to commit ({@link FencedInstanceIdException}). So commits are fenced by Kafka, and what the records
 * lead to by the token. Each record is committed after it was sent: it is never lost, and is sent again only where its
 * commit did not come through.
 */
final class ActiveConsumer implements Endpoints.Work {
    private static final Duration POLL = Duration.ofMillis(100);
    /** How long a broker may take to answer. */
    private static final Duration ANSWER = Duration.ofMillis(1000);
    /** After so long without an answer, of the broker or of the target, another replica is to try. */
    private static final Duration TROUBLE = Duration.ofSeconds(3);
    /** Committed together, so that at most so many are sent again. */
    private static final int BATCH = 50;

    private final Permission permission;
    private final Target target;
    private final String topic;
    private final Map<String, Object> config;

    private boolean idle = true;
    private final Other broker = new Other();
    private final Other receiver = new Other();
    private volatile boolean ending;

    ActiveConsumer(Permission permission, Target target, String brokers, String group, String topic) {
        this.permission = permission;
        this.target = target;
        this.topic = topic;
        config = Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers,
                ConsumerConfig.GROUP_ID_CONFIG, group,
                // The newer protocol (`consumer`) lets no member take a static id over from one that lives.
                ConsumerConfig.GROUP_PROTOCOL_CONFIG, "classic",
                ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, "active",
                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
                ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                ConsumerConfig.MAX_POLL_RECORDS_CONFIG, BATCH,
                ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class,
                ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
    }

    /** Until {@link #end}. */
    void run() throws InterruptedException {
        look();
        while (!ending) {
            permission.await(POLL);
            // Before the permission is looked at: whoever withdraws it and finds this idle may rely on it.
            setIdle(false);
            try {
                if (permission.isValid()) {
                    consume();
                } else {
                    broker.answered();
                    receiver.answered();
                }
            } catch (FencedInstanceIdException | Target.Fenced fenced) {
                permission.token().ifPresent(permission::withdraw);
                say("another one is active: " + fenced.getMessage());
            } catch (KafkaException | IOException error) {
                say("failed, and is tried again: " + error);
                Thread.sleep(POLL.toMillis());
            } finally {
                setIdle(true);
            }
        }
    }

    void end() {
        ending = true;
    }

    /** Whether there is what it will need: so that a mistake is told now, and the first activation is as quick as any. */
    private void look() {
        try (var consumer = new KafkaConsumer<String, String>(config)) {
            say("standing by; partitions of " + topic + ": " + consumer.partitionsFor(topic, ANSWER).size());
        } catch (KafkaException error) {
            say("standing by, but cannot see " + topic + ": " + error);
        }
    }

    private void consume() throws IOException, InterruptedException, Target.Fenced {
        var consumer = new KafkaConsumer<String, String>(config);
        try {
            consumer.subscribe(List.of(topic));
            say("active");
            while (permission.isValid()) {
                broker.asked();
                ConsumerRecords<String, String> records = consumer.poll(POLL);
                if (!records.isEmpty()) {
                    broker.answered();
                    if (!sendAndCommit(consumer, records)) {
                        // This consumer stands behind the whole batch. The permission may have been renewed meanwhile: were
                        // it polled again, the rest would be left out, and lost with the next commit.
                        return;
                    }
                } else if (broker.silentFor().compareTo(ANSWER) > 0 && !consumer.assignment().isEmpty()) {
                    // Nothing to consume, or nobody to ask? A poll does not say.
                    consumer.committed(consumer.assignment(), ANSWER);
                    broker.answered();
                }
            }
        } finally {
            // A static member does not leave the group: the next one takes its place.
            consumer.close(CloseOptions.timeout(Duration.ZERO));
            say("not active");
        }
    }

    /** Returns whether all were sent. Where they were not, or it throws, this consumer is not to go on. */
    private boolean sendAndCommit(KafkaConsumer<String, String> consumer, ConsumerRecords<String, String> records)
            throws IOException, InterruptedException, Target.Fenced {
        Map<TopicPartition, OffsetAndMetadata> sent = new HashMap<>();
        int left = records.count();
        try {
            for (var record : records) {
                OptionalLong token = permission.token();
                if (token.isEmpty()) {
                    say("not permitted any more, with " + left + " of " + records.count() + " left");
                    return false;
                }
                receiver.asked();
                target.send(record, token.getAsLong());
                receiver.answered();
                left--;
                sent.put(new TopicPartition(topic, record.partition()), new OffsetAndMetadata(record.offset() + 1));
            }
            return true;
        } finally {
            // What was sent is committed even where the permission is over by now: where another one has taken this one's
            // place in the group, the broker refuses.
            if (!sent.isEmpty()) {
                broker.asked();
                consumer.commitSync(sent, ANSWER);
                broker.answered();
                sent.forEach((partition, next) -> say("committed " + partition.partition() + " " + next.offset()));
            }
        }
    }

    @Override
    public synchronized boolean awaitIdle(Duration atMost) throws InterruptedException {
        long begun = System.nanoTime();
        while (!idle) {
            Duration left = atMost.minus(since(begun));
            if (left.toMillis() <= 0) {
                return false;
            }
            wait(left.toMillis());
        }
        return true;
    }

    @Override
    public String trouble() {
        if (!permission.isValid()) {
            return null;
        }
        List<String> troubles = new ArrayList<>();
        if (broker.silentFor().compareTo(TROUBLE) >= 0) {
            troubles.add("no broker has answered for " + broker.silentFor().toSeconds() + " s");
        }
        if (receiver.silentFor().compareTo(TROUBLE) >= 0) {
            troubles.add("the target has taken no record for " + receiver.silentFor().toSeconds() + " s");
        }
        return troubles.isEmpty() ? null : String.join("; ", troubles);
    }

    /** One that is asked for something; not to be blamed while it is not. */
    private static final class Other {
        /** Since when an answer is waited for, by {@link System#nanoTime}; null where none is. */
        private volatile Long asked;

        void asked() {
            if (asked == null) {
                asked = System.nanoTime();
            }
        }

        void answered() {
            asked = null;
        }

        Duration silentFor() {
            Long since = asked;
            return since == null ? Duration.ZERO : since(since);
        }
    }

    private synchronized void setIdle(boolean now) {
        idle = now;
        notifyAll();
    }

    private static Duration since(long nanos) {
        return Duration.ofNanos(System.nanoTime() - nanos);
    }

    private static void say(String words) {
        System.out.println(words);
    }
}
