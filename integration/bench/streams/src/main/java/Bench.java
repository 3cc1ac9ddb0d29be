import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.KeyValueStore;

/** The benchmark's tasks on Kafka Streams. It takes the flags of job.go and speaks as job.go says. */
public final class Bench {
    private static final AtomicBoolean begun = new AtomicBoolean();
    private static final AtomicLong seen = new AtomicLong();
    private static final CountDownLatch done = new CountDownLatch(1);
    private static long records;

    public static void main(String[] args) throws Exception {
        Map<String, String> job = new HashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2) {
            job.put(args[i].substring(2), args[i + 1]);
        }
        records = Long.parseLong(job.getOrDefault("records", "0"));
        StreamsBuilder builder = new StreamsBuilder();
        define(builder, job);
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(job));
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            System.exit(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        say("client kafka-streams");
        streams.start();
        done.await();
        streams.close(Duration.ofMinutes(1)); // which commits
        say("end");
        System.in.read();
        Runtime.getRuntime().halt(0);
    }

    private static Properties settings(Map<String, String> job) {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, job.get("name"));
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, job.get("brokers"));
        p.put(StreamsConfig.STATE_DIR_CONFIG, job.get("dir"));
        p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.BytesSerde.class);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        switch (job.getOrDefault("variant", "defaults")) {
            case "defaults":
                break;
            case "at-least-once":
                p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
                break;
            case "exactly-once":
                p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
                p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
                break;
            case "latency":
                p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
                p.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 0);
                break;
            default:
                throw new IllegalArgumentException("no variant " + job.get("variant"));
        }
        return p;
    }

    private static void define(StreamsBuilder builder, Map<String, String> job) {
        KStream<String, Bytes> in = builder
            .stream(job.get("source"), Consumed.with(Serdes.String(), Serdes.Bytes()))
            .peek((k, v) -> note());
        switch (job.getOrDefault("task", "")) {
            case "count":
                in.groupByKey(Grouped.with(Serdes.String(), Serdes.Bytes()))
                    .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
                break;
            default:
                throw new IllegalArgumentException("no task " + job.get("task"));
        }
    }

    /** Called for each record of the source. */
    private static void note() {
        if (!begun.get() && begun.compareAndSet(false, true)) {
            say("begin");
        }
        if (seen.incrementAndGet() == records) {
            done.countDown();
        }
    }

    private static synchronized void say(String what) {
        System.out.println("@bench " + what);
        System.out.flush();
    }
}
