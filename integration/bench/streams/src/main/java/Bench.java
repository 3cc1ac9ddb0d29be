import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serde;
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
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

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
        if (job.get("task").equals("restore")) {
            streams.setGlobalStateRestoreListener(new Restored());
        }
        say("client kafka-streams");
        streams.start();
        if (job.get("task").equals("pass")) { // without end
            System.in.read();
            streams.close(Duration.ofSeconds(10));
            Runtime.getRuntime().halt(0);
        }
        done.await();
        if (!job.get("task").equals("restore")) {
            streams.close(Duration.ofMinutes(1)); // which commits
        }
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
            case "static":
                p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
                p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
                p.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), job.get("name"));
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
        switch (job.getOrDefault("task", "")) {
            case "count":
            case "restore":
                bytes(builder, job)
                    .groupByKey(Grouped.with(Serdes.String(), Serdes.Bytes()))
                    .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
                break;
            case "map":
                bytes(builder, job)
                    .mapValues(v -> {
                        byte[] out = v.get().clone();
                        ByteBuffer.wrap(out).putLong(ByteBuffer.wrap(out).getLong() + 1);
                        return Bytes.wrap(out);
                    })
                    .to(job.get("out"), Produced.with(Serdes.String(), Serdes.Bytes()));
                break;
            case "wordcount":
                builder.stream(job.get("source"), Consumed.with(Serdes.String(), Serdes.String()))
                    .flatMapValues(line -> Arrays.asList(line.split(" ")))
                    .selectKey((k, word) -> word)
                    .repartition(Repartitioned.<String, String>as("words").withKeySerde(Serdes.String()).withValueSerde(Serdes.String()))
                    .peek((k, v) -> note())
                    .groupByKey(Grouped.with(Serdes.String(), Serdes.String()))
                    .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
                break;
            case "json":
                builder.stream(job.get("source"), Consumed.with(Serdes.String(), new Json<>(Order.class)))
                    .peek((k, v) -> note())
                    .groupByKey(Grouped.with(Serdes.String(), new Json<>(Order.class)))
                    .aggregate(Total::new, (k, order, total) -> total.plus(order),
                        Materialized.<String, Total, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(Serdes.String()).withValueSerde(new Json<>(Total.class)));
                break;
            case "getset":
                stateful(builder);
                bytes(builder, job).process(() -> new Counting(false), "counts");
                break;
            case "pass":
                stateful(builder);
                bytes(builder, job).process(() -> new Counting(true), "counts").to(job.get("out"), Produced.with(Serdes.String(), Serdes.Bytes()));
                break;
            default:
                throw new IllegalArgumentException("no task " + job.get("task"));
        }
    }

    private static KStream<String, Bytes> bytes(StreamsBuilder builder, Map<String, String> job) {
        return builder.stream(job.get("source"), Consumed.with(Serdes.String(), Serdes.Bytes())).peek((k, v) -> note());
    }

    private static void stateful(StreamsBuilder builder) {
        builder.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("counts"), Serdes.String(), Serdes.Long()).withCachingEnabled());
    }

    /** Reads and writes its store by hand, and passes its records on if it is told to. */
    private static final class Counting implements Processor<String, Bytes, String, Bytes> {
        private final boolean pass;
        private ProcessorContext<String, Bytes> context;
        private KeyValueStore<String, Long> counts;

        Counting(boolean pass) {
            this.pass = pass;
        }

        @Override
        public void init(ProcessorContext<String, Bytes> context) {
            this.context = context;
            this.counts = context.getStateStore("counts");
        }

        @Override
        public void process(Record<String, Bytes> r) {
            Long n = counts.get(r.key());
            counts.put(r.key(), n == null ? 1L : n + 1);
            if (pass) {
                context.forward(r);
            }
        }
    }

    /** What the task json reads. */
    public static final class Order {
        public String user;
        public long amount;
        public String note;
    }

    /** What the task json keeps. */
    public static final class Total {
        public long count;
        public long amount;

        Total plus(Order o) {
            Total t = new Total();
            t.count = count + 1;
            t.amount = amount + o.amount;
            return t;
        }
    }

    private static final class Json<T> extends Serdes.WrapperSerde<T> {
        private static final ObjectMapper mapper = new ObjectMapper();

        Json(Class<T> type) {
            super((topic, value) -> {
                try {
                    return value == null ? null : mapper.writeValueAsBytes(value);
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }, (topic, bytes) -> {
                try {
                    return bytes == null ? null : mapper.readValue(bytes, type);
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
        }
    }

    /** Says when restoring begins, and when all four partitions are restored. */
    private static final class Restored implements StateRestoreListener {
        private final AtomicInteger left = new AtomicInteger(4);
        private final AtomicLong restored = new AtomicLong();

        @Override
        public void onRestoreStart(TopicPartition tp, String store, long from, long to) {
            if (begun.compareAndSet(false, true)) {
                say("begin");
            }
        }

        @Override
        public void onBatchRestored(TopicPartition tp, String store, long to, long n) {}

        @Override
        public void onRestoreEnd(TopicPartition tp, String store, long n) {
            restored.addAndGet(n);
            if (left.decrementAndGet() == 0) {
                say("figure restored " + restored.get());
                done.countDown();
            }
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
