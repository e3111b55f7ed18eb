package zipline.flink.tiles;

import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.sink.DynamicTableSink;
import org.apache.flink.table.connector.sink.SinkV2Provider;
import org.apache.flink.table.factories.DynamicTableSinkFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.logical.RawType;
import org.apache.flink.types.RowKind;
import zipline.flink.algebra.Tile;
import zipline.flink.algebra.TileSerializer;

/**
 * The connector {@code zipline-tiles}: a table of two columns, the place (BYTES, the primary key) and its partial (RAW
 * of {@link Tile}), of which the newest of every place is sent to a topic, many in a message. See {@link TileSink}.
 */
public final class TileSinkFactory implements DynamicTableSinkFactory {
    static final ConfigOption<String> SERVERS =
            ConfigOptions.key("servers").stringType().noDefaultValue().withDescription("of the brokers");
    static final ConfigOption<String> TOPIC =
            ConfigOptions.key("topic").stringType().noDefaultValue().withDescription("where tiles are sent");
    static final ConfigOption<Long> FEED =
            ConfigOptions.key("feed").longType().noDefaultValue().withDescription("the tag of the group-by's blocks");
    static final ConfigOption<Duration> FLUSH =
            ConfigOptions.key("flush").durationType().defaultValue(Duration.ofMillis(50))
                    .withDescription("for how long changes of a tile are gathered before it is sent");
    private static final String CLIENT = "properties.";

    @Override
    public String factoryIdentifier() {
        return "zipline-tiles";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(SERVERS, TOPIC, FEED);
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
        var columns = context.getPhysicalRowDataType().getLogicalType().getChildren();
        if (columns.size() != 2 || !(columns.get(1) instanceof RawType)) {
            throw new IllegalArgumentException("a table of tiles has two columns: the place and its partial");
        }
        var tiles = (TileSerializer) ((RawType<?>) columns.get(1)).getTypeSerializer();
        return new Table(
                new TileSink(client, options.get(TOPIC), options.get(FEED), options.get(FLUSH).toMillis(), tiles));
    }

    private static Map<String, String> clientSettings(Map<String, String> options) {
        return options.entrySet().stream()
                .filter(each -> each.getKey().startsWith(CLIENT))
                .collect(Collectors.toMap(each -> each.getKey().substring(CLIENT.length()), Map.Entry::getValue));
    }

    private record Table(TileSink sink) implements DynamicTableSink {
        @Override
        public ChangelogMode getChangelogMode(ChangelogMode requested) {
            return ChangelogMode.newBuilder()
                    .addContainedKind(RowKind.INSERT)
                    .addContainedKind(RowKind.UPDATE_AFTER)
                    .build();
        }

        @Override
        public SinkRuntimeProvider getSinkRuntimeProvider(Context context) {
            return SinkV2Provider.of(sink);
        }

        @Override
        public DynamicTableSink copy() {
            return new Table(sink);
        }

        @Override
        public String asSummaryString() {
            return "tiles";
        }
    }
}
