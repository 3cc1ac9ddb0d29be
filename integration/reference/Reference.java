import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.test.TestRecord;

/**
 * Runs scripts through Kafka Streams' own test driver. From standard input: "script KIND", then a line per record: topic, key, value and
 * time, with tabs between and \N for null, then "end". To standard output the same, with what each record has made behind it: the
 * records of topic "out", and their headers. Each record of a script has the header "n", its number.
 */
public final class Reference {
    private static final String NULL = "\\N";

    private static <V> Materialized<String, V, KeyValueStore<Bytes, byte[]>> as(String name, org.apache.kafka.common.serialization.Serde<V> values) {
        return Materialized.<String, V>as(Stores.inMemoryKeyValueStore(name)).withKeySerde(Serdes.String()).withValueSerde(values);
    }

    private static Materialized<String, String, KeyValueStore<Bytes, byte[]>> as(String name) {
        return as(name, Serdes.String());
    }

    private static void define(String kind, StreamsBuilder b) {
        Consumed<String, String> in = Consumed.with(Serdes.String(), Serdes.String());
        Produced<String, String> out = Produced.with(Serdes.String(), Serdes.String());
        Grouped<String, String> grouped = Grouped.with(Serdes.String(), Serdes.String());
        switch (kind) {
            case "stream-table" ->
                b.stream("left", in).join(b.table("right", in, as("right-store")), (l, r) -> l + "+" + r).to("out", out);
            case "stream-table-left" ->
                b.stream("left", in).leftJoin(b.table("right", in, as("right-store")), (l, r) -> l + "+" + r).to("out", out);
            case "stream-table-table" -> {
                KTable<String, String> right = b.table("right", in, as("right-store"));
                KTable<String, String> third = b.table("third", in, as("third-store"));
                b.stream("left", in).join(right, (l, r) -> l + "+" + r).leftJoin(third, (l, r) -> l + "+" + r).to("out", out);
            }
            case "stream-table-count" ->
                b.stream("left", in).join(b.table("right", in, as("right-store")), (l, r) -> l + "+" + r)
                    .groupByKey(grouped).count(as("counts", Serdes.Long())).toStream().mapValues(n -> n == null ? null : n.toString()).to("out", out);
            case "table-stream" ->
                b.table("left", in, as("left-store")).toStream().to("out", out);
            case "table-table" ->
                b.table("left", in, as("left-store")).join(b.table("right", in, as("right-store")), (l, r) -> l + "+" + r, as("joined"))
                    .toStream().to("out", out);
            case "table-table-left" ->
                b.table("left", in, as("left-store")).leftJoin(b.table("right", in, as("right-store")), (l, r) -> l + "+" + r, as("joined"))
                    .toStream().to("out", out);
            case "table-table-outer" ->
                b.table("left", in, as("left-store")).outerJoin(b.table("right", in, as("right-store")), (l, r) -> l + "+" + r, as("joined"))
                    .toStream().to("out", out);
            case "table-table-table" -> {
                KTable<String, String> first = b.table("left", in, as("left-store"))
                    .join(b.table("right", in, as("right-store")), (l, r) -> l + "+" + r, as("joined"));
                first.outerJoin(b.table("third", in, as("third-store")), (l, r) -> l + "+" + r, as("joined-again")).toStream().to("out", out);
            }
            case "count" ->
                b.stream("left", in).groupByKey(grouped).count(as("counts", Serdes.Long()))
                    .toStream().mapValues(n -> n.toString()).to("out", out);
            case "count-by" ->
                b.stream("left", in).filter((k, v) -> v != null).groupBy((k, v) -> group(v), grouped).count(as("counts", Serdes.Long()))
                    .toStream().mapValues(n -> n.toString()).to("out", out);
            case "reduce" ->
                b.stream("left", in).groupByKey(grouped).reduce((x, y) -> x + y, as("sums")).toStream().to("out", out);
            case "aggregate" ->
                b.stream("left", in).groupByKey(grouped).aggregate(() -> "", (k, v, x) -> x + "[" + v + "]", as("sums")).toStream().to("out", out);
            case "count-table" -> {
                KTable<String, Long> counts = b.stream("left", in).groupByKey(grouped).count(as("counts", Serdes.Long()));
                counts.mapValues(n -> n.toString(), as("texts")).leftJoin(b.table("right", in, as("right-store")), (l, r) -> l + "+" + r, as("joined"))
                    .toStream().to("out", out);
            }
            case "group-table-count" ->
                b.table("left", in, as("left-store")).groupBy((k, v) -> KeyValue.pair(group(v), v), grouped).count(as("counts", Serdes.Long()))
                    .toStream().mapValues(n -> n.toString()).to("out", out);
            case "group-table-reduce" ->
                b.table("left", in, as("left-store")).groupBy((k, v) -> KeyValue.pair(group(v), v), grouped)
                    .reduce((x, y) -> x + "+" + y, (x, y) -> x + "-" + y, as("sums")).toStream().to("out", out);
            case "group-table-aggregate" ->
                b.table("left", in, as("left-store")).groupBy((k, v) -> KeyValue.pair(group(v), v), grouped)
                    .aggregate(() -> "", (k, v, x) -> x + "+" + v, (k, v, x) -> x + "-" + v, as("sums")).toStream().to("out", out);
            case "group-table-gone" -> // rows without a group, groups that are deleted
                b.table("left", in, as("left-store")).groupBy((k, v) -> KeyValue.pair(foreign(v), k + v), grouped)
                    .aggregate(() -> "", (k, v, x) -> x + "+" + v, (k, v, x) -> x.length() > 12 ? null : x + "-" + v, as("sums")).toStream().to("out", out);
            case "group-table-reduce-gone" ->
                b.table("left", in, as("left-store")).groupBy((k, v) -> KeyValue.pair(foreign(v), k + v), grouped)
                    .reduce((x, y) -> x + "+" + y, (x, y) -> x.length() > 12 ? null : x + "-" + y, as("sums")).toStream().to("out", out);
            case "group-table-chain" -> // what groups are made of is grouped again; 0 is what the first count of a key is said to have been before
                b.stream("left", in).groupByKey(grouped).count(as("counts", Serdes.Long()))
                    .groupBy((k, n) -> KeyValue.pair(n == 0 ? null : Long.toString(n % 3), k), grouped).count(as("per-count", Serdes.Long()))
                    .groupBy((k, n) -> KeyValue.pair(Long.toString(n % 2), k), grouped)
                    .reduce((x, y) -> x + "+" + y, (x, y) -> x + "-" + y, as("sums")).toStream().to("out", out);
            case "foreign" ->
                b.table("left", in, as("left-store")).join(b.table("right", in, as("right-store")), Reference::foreign, (l, r) -> l + "+" + r, as("joined"))
                    .toStream().to("out", out);
            case "foreign-left" ->
                b.table("left", in, as("left-store")).leftJoin(b.table("right", in, as("right-store")), Reference::foreign, (l, r) -> l + "+" + r, as("joined"))
                    .toStream().to("out", out);
            case "foreign-chain" -> // both sides are made of others, and so is what comes of the result
                b.table("left", in, as("left-store")).leftJoin(
                        b.stream("right", in).groupByKey(grouped).reduce((x, y) -> x + y, as("right-store")), Reference::foreign, (l, r) -> l + "+" + r, as("joined"))
                    .join(b.table("third", in, as("third-store")), Reference::foreign, (l, r) -> l + "+" + r, as("joined-again"))
                    .toStream().to("out", out);
            case "foreign-self" -> {
                KTable<String, String> left = b.table("left", in, as("left-store"));
                left.leftJoin(left, Reference::foreign, (l, r) -> l + "+" + r, as("joined")).toStream().to("out", out);
            }
            case "foreign-group" ->
                b.table("left", in, as("left-store")).join(b.table("right", in, as("right-store")), Reference::foreign, (l, r) -> l + "+" + r, as("joined"))
                    .groupBy((k, v) -> KeyValue.pair(group(v), v), grouped)
                    .reduce((x, y) -> x + "+" + y, (x, y) -> x + "-" + y, as("sums")).toStream().to("out", out);
            case "stream-global" -> {
                GlobalKTable<String, String> right = b.globalTable("right", in, as("right-store"));
                b.stream("left", in).join(right, (k, v) -> foreign(v), (l, r) -> l + "+" + r).to("out", out);
            }
            case "stream-global-left" -> {
                GlobalKTable<String, String> right = b.globalTable("right", in, as("right-store"));
                b.stream("left", in).leftJoin(right, (k, v) -> foreign(v), (l, r) -> l + "+" + r).to("out", out);
            }
            case "stream-global-table" -> { // one after the other, and what is made of records without a key
                GlobalKTable<String, String> right = b.globalTable("right", in, as("right-store"));
                KTable<String, String> third = b.table("third", in, as("third-store"));
                b.stream("left", in).leftJoin(right, (k, v) -> foreign(v), (l, r) -> l + "+" + r).leftJoin(third, (l, r) -> l + "+" + r)
                    .groupByKey(grouped).reduce((x, y) -> x + y, as("sums")).toStream().to("out", out);
            }
            default -> throw new IllegalArgumentException("no kind " + kind);
        }
    }

    /** The first letter of a value. */
    private static String group(String value) {
        return value.substring(0, 1);
    }

    /** The first letter of a value; none for those with an x, and for null. */
    private static String foreign(String value) {
        return value == null || value.startsWith("x") ? null : value.substring(0, 1);
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String kind = line.substring("script ".length());
            List<String[]> records = new ArrayList<>();
            for (line = in.readLine(); !line.equals("end"); line = in.readLine()) {
                records.add(line.split("\t"));
            }
            run(kind, records, out);
        }
        out.flush();
    }

    private static void run(String kind, List<String[]> records, BufferedWriter out) throws Exception {
        StreamsBuilder b = new StreamsBuilder();
        define(kind, b);
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, "reference");
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:1");
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
        p.put(StreamsConfig.STATE_DIR_CONFIG, System.getProperty("java.io.tmpdir") + "/troupe-reference");
        out.write("script " + kind + "\n");
        try (TopologyTestDriver d = new TopologyTestDriver(b.build(), p)) {
            TestOutputTopic<String, String> results = d.createOutputTopic("out", new StringDeserializer(), new StringDeserializer());
            int n = 0;
            for (String[] r : records) {
                TestInputTopic<String, String> topic = d.createInputTopic(r[0], new StringSerializer(), new StringSerializer());
                RecordHeaders headers = new RecordHeaders();
                headers.add("n", Integer.toString(n++).getBytes(StandardCharsets.UTF_8));
                topic.pipeInput(new TestRecord<>(text(r[1]), text(r[2]), headers, Long.parseLong(r[3])));
                out.write("in\t" + String.join("\t", r) + "\n");
                for (TestRecord<String, String> x : results.readRecordsToList()) {
                    out.write("out\t" + mark(x.key()) + "\t" + mark(x.value()) + "\t" + x.timestamp() + "\t" + headers(x) + "\n");
                }
            }
        }
        out.write("end\n");
    }

    /** The values of the headers of a record, which say of which ones it is made. */
    private static String headers(TestRecord<String, String> x) {
        StringBuilder all = new StringBuilder();
        for (Header h : x.headers()) {
            all.append(all.length() == 0 ? "" : " ").append(h.key()).append(new String(h.value(), StandardCharsets.UTF_8));
        }
        return all.toString();
    }

    private static String text(String s) {
        return s.equals(NULL) ? null : s;
    }

    private static String mark(String s) {
        return s == null ? NULL : s;
    }
}
