package zipline.flink.tiles;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.operators.ProcessingTimeService;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.table.data.RowData;
import zipline.flink.algebra.Tile;
import zipline.flink.algebra.TileSerializer;

/**
 * Sends the newest partial of every tile that changed, once in {@code flush} milliseconds and before every checkpoint.
 *
 * <p>A tile is sent whole, so sending it again changes nothing: after a restart from a checkpoint what is replayed is
 * sent again, and the last message is the right one. Between two sendings a tile that changes a thousand times is
 * written as bytes once: the row has the live partial, which is encoded when it is sent.
 *
 * <p>All messages go to one partition, so that their order is that of the changes, whichever subtask a key moves to.
 */
final class TileSink implements Sink<RowData> {
    private static final long serialVersionUID = 1L;
    /** Tiles that are gathered before they are sent, however little time has passed. */
    static final int MOST_TILES = 20_000;

    private final Properties client;
    private final String topic;
    private final long feed;
    private final long flush;
    private final TileSerializer tiles;

    TileSink(Properties client, String topic, long feed, long flush, TileSerializer tiles) {
        this.client = client;
        this.topic = topic;
        this.feed = feed;
        this.flush = flush;
        this.tiles = tiles;
    }

    @Override
    public SinkWriter<RowData> createWriter(WriterInitContext context) {
        return new Writer(this, Connections.to(client), context.getProcessingTimeService());
    }

    private static final class Writer implements SinkWriter<RowData>, ProcessingTimeService.ProcessingTimeCallback {
        private final TileSink sink;
        private final Connections.Connection connection;
        private final ProcessingTimeService time;
        private final Map<Place, Tile> changed = new LinkedHashMap<>();
        private final Place asked = new Place();

        Writer(TileSink sink, Connections.Connection connection, ProcessingTimeService time) {
            this.sink = sink;
            this.connection = connection;
            this.time = time;
            time.registerTimer(time.getCurrentProcessingTime() + sink.flush, this);
        }

        @Override
        public void write(RowData row, Context context) throws IOException {
            Tile tile = row.<Tile>getRawValue(1).toObject(sink.tiles);
            asked.bytes(row.getBinary(0));
            if (changed.replace(asked, tile) == null) {
                changed.put(asked.kept(), tile);
                if (changed.size() >= MOST_TILES) {
                    send();
                }
            }
        }

        @Override
        public void onProcessingTime(long now) throws IOException {
            send();
            time.registerTimer(now + sink.flush, this);
        }

        @Override
        public void flush(boolean endOfInput) throws IOException {
            send();
            connection.await();
        }

        @Override
        public void close() {
            connection.close();
        }

        private void send() throws IOException {
            if (changed.isEmpty()) {
                return;
            }
            var places = new ArrayList<byte[]>(changed.size());
            var tiles = new ArrayList<byte[]>(changed.size());
            int size = 0;
            for (var each : changed.entrySet()) {
                byte[] place = each.getKey().bytes();
                byte[] tile = each.getValue().encoded();
                if (size > 0 && size + place.length + tile.length > Message.LARGEST) {
                    connection.send(sink.topic, Message.of(sink.feed, places, tiles));
                    places.clear();
                    tiles.clear();
                    size = 0;
                }
                places.add(place);
                tiles.add(tile);
                size += place.length + tile.length;
            }
            connection.send(sink.topic, Message.of(sink.feed, places, tiles));
            changed.clear();
        }
    }
}
