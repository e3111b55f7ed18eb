package zipline.flink.tiles;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.typeutils.TupleTypeInfo;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamSink;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.ProviderContext;
import org.apache.flink.table.connector.sink.DataStreamSinkProvider;
import org.apache.flink.table.connector.sink.DynamicTableSink;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DynamicTableSinkFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.RowType;
import zipline.flink.algebra.Tile;
import zipline.flink.algebra.TileSerializer;

/**
 * The connector {@code zipline-tiles}: a table of events, with the place where each belongs (BYTES), its weight (INT, -1 of a
 * reversal), when it happened and when it was known (BIGINT, microseconds), and the columns of {@code tile}. The tiles of
 * the places take them (see {@link TileProcess}), and the newest of each is sent to a topic (see {@link TileSink}).
 */
public final class TileSinkFactory implements DynamicTableSinkFactory {
    static final ConfigOption<String> SERVERS =
            ConfigOptions.key("servers").stringType().noDefaultValue().withDescription("of the brokers");
    static final ConfigOption<String> TOPIC =
            ConfigOptions.key("topic").stringType().noDefaultValue().withDescription("where tiles are sent");
    static final ConfigOption<Long> FEED =
            ConfigOptions.key("feed").longType().noDefaultValue().withDescription("the tag of the group-by's blocks");
    static final ConfigOption<String> TILE = ConfigOptions.key("tile")
            .stringType()
            .noDefaultValue()
            .withDescription("what is kept of the events of a place, as JSON");
    static final ConfigOption<Duration> KEPT = ConfigOptions.key("kept")
            .durationType()
            .noDefaultValue()
            .withDescription("for how long a tile is kept after its last event");
    static final ConfigOption<Duration> FLUSH =
            ConfigOptions.key("flush").durationType().defaultValue(Duration.ofMillis(50))
                    .withDescription("for how long changes of a tile are gathered before it is sent");
    private static final String CLIENT = "properties.";
    private static final List<LogicalTypeRoot> LEADING = List.of(
            LogicalTypeRoot.VARBINARY, LogicalTypeRoot.INTEGER, LogicalTypeRoot.BIGINT, LogicalTypeRoot.BIGINT);

    @Override
    public String factoryIdentifier() {
        return "zipline-tiles";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(SERVERS, TOPIC, FEED, TILE, KEPT);
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of(FLUSH);
    }

    @Override
    public DynamicTableSink createDynamicTableSink(Context context) {
        var helper = FactoryUtil.createTableFactoryHelper(this, context);
        helper.validateExcept(CLIENT);
        var options = helper.getOptions();
        var client = new Properties();
        client.putAll(clientSettings(context.getCatalogTable().getOptions()));
        client.put("bootstrap.servers", options.get(SERVERS));
        var row = (RowType) context.getPhysicalRowDataType().getLogicalType();
        var leading = row.getChildren().stream().limit(TileProcess.LEADING).map(LogicalType::getTypeRoot).toList();
        if (!leading.equals(LEADING)) {
            throw new ValidationException("the columns of a table of tiles begin with " + LEADING + ", not " + leading);
        }
        var tiles = new TileSerializer(options.get(TILE));
        return new Table(
                context.getObjectIdentifier().getObjectName(),
                tiles,
                new TileProcess(tiles, options.get(KEPT).toMillis(), row),
                new TileSink(client, options.get(TOPIC), options.get(FEED), options.get(FLUSH).toMillis()));
    }

    private static Map<String, String> clientSettings(Map<String, String> options) {
        return options.entrySet().stream()
                .filter(each -> each.getKey().startsWith(CLIENT))
                .collect(Collectors.toMap(each -> each.getKey().substring(CLIENT.length()), Map.Entry::getValue));
    }

    private record Table(String name, TileSerializer tiles, TileProcess process, TileSink sink)
            implements DynamicTableSink {
        @Override
        public ChangelogMode getChangelogMode(ChangelogMode requested) {
            return ChangelogMode.insertOnly();
        }

        @Override
        public SinkRuntimeProvider getSinkRuntimeProvider(Context context) {
            return (DataStreamSinkProvider) this::sent;
        }

        private DataStreamSink<?> sent(ProviderContext ids, DataStream<RowData> rows) {
            var place = new SerializedType<>(Place.class, PlaceSerializer.INSTANCE);
            var type = new TupleTypeInfo<Tuple2<Place, Tile>>(place, new SerializedType<>(Tile.class, tiles));
            var made = rows.keyBy(row -> new Place(row.getBinary(0)), place).process(process, type).name(name);
            ids.generateUid("tiles").ifPresent(made::uid);
            var sent = made.sinkTo(sink).name(name + " sent");
            ids.generateUid("sent").ifPresent(sent::uid);
            return sent;
        }

        @Override
        public DynamicTableSink copy() {
            return new Table(name, tiles, process, sink);
        }

        @Override
        public String asSummaryString() {
            return "tiles";
        }
    }
}
