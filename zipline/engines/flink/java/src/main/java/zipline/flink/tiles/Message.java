package zipline.flink.tiles;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;

/**
 * Tiles of one group-by in one message, laid out so that a reader needs no loop: all numbers are little-endian.
 *
 * <pre>
 *   message := version (int64), feed (int64), count (int64)
 *              | count lengths of places (int32) | count lengths of tiles (int32) | places | tiles
 * </pre>
 */
final class Message {
    static final long VERSION = 1;
    /** Bytes after which a message is ended; one tile alone may be longer. */
    static final int LARGEST = 512 << 10;

    private static final int HEADER = 24;

    private Message() {}

    static byte[] of(long feed, List<byte[]> places, List<byte[]> tiles) {
        int size = HEADER + 8 * places.size();
        for (byte[] place : places) {
            size += place.length;
        }
        for (byte[] tile : tiles) {
            size += tile.length;
        }
        var out = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
        out.putLong(VERSION).putLong(feed).putLong(places.size());
        places.forEach(place -> out.putInt(place.length));
        tiles.forEach(tile -> out.putInt(tile.length));
        places.forEach(out::put);
        tiles.forEach(out::put);
        return out.array();
    }
}
