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
import org.apache.flink.api.java.tuple.Tuple2;
import zipline.flink.algebra.Tile;

/**
 * Sends the newest partial of every tile that changed, once in {@code flush} milliseconds and before every checkpoint; less
 * often while so many change that it is more than {@link #PER_MILLISECOND}.
 *
 * <p>A tile is sent whole, so sending it again changes nothing: after a restart from a checkpoint what is replayed is
 * sent again, and the last message is the right one. Between two sendings a tile that changes a thousand times is
 * written as bytes once: what is given is the live tile, which is encoded when it is sent.
 *
 * <p>All messages go to one partition, so that their order is that of the changes, whichever subtask a key moves to.
 */
final class TileSink implements Sink<Tuple2<Place, Tile>> {
    private static final long serialVersionUID = 1L;
    /** Tiles that are gathered before they are sent, however little time has passed. */
    static final int MOST_TILES = 20_000;
    /** Tiles that are sent in a millisecond: under load, each less often. */
    static final int PER_MILLISECOND = 10;
    /** Milliseconds for which tiles are gathered at most. */
    static final long LONGEST = 1000;

    private final Properties client;
    private final String topic;
    private final long feed;
    private final long flush;

    TileSink(Properties client, String topic, long feed, long flush) {
        this.client = client;
        this.topic = topic;
        this.feed = feed;
        this.flush = flush;
    }

    @Override
    public SinkWriter<Tuple2<Place, Tile>> createWriter(WriterInitContext context) {
        return new Writer(this, Connections.to(client), context.getProcessingTimeService());
    }

    private static final class Writer
            implements SinkWriter<Tuple2<Place, Tile>>, ProcessingTimeService.ProcessingTimeCallback {
        private final TileSink sink;
        private final Connections.Connection connection;
        private final ProcessingTimeService time;
        private final Map<Place, Tile> changed = new LinkedHashMap<>();

        Writer(TileSink sink, Connections.Connection connection, ProcessingTimeService time) {
            this.sink = sink;
            this.connection = connection;
            this.time = time;
            time.registerTimer(time.getCurrentProcessingTime() + sink.flush, this);
        }

        @Override
        public void write(Tuple2<Place, Tile> row, Context context) throws IOException {
            changed.put(row.f0, row.f1);
            if (changed.size() >= MOST_TILES) {
                send();
            }
        }

        @Override
        public void onProcessingTime(long now) throws IOException {
            long gathered = changed.size() / PER_MILLISECOND;
            send();
            long after = Math.max(sink.flush, Math.min(gathered, LONGEST));
            time.registerTimer(time.getCurrentProcessingTime() + after, this); // not since it was due
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
                byte[] place = each.getKey().bytes;
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
