package zipline.flink.tiles;

import java.util.Arrays;

/** Where a tile belongs, as bytes that are a key. */
final class Place {
    final byte[] bytes;
    private final int hash;

    Place(byte[] bytes) {
        this.bytes = bytes;
        int found = Arrays.hashCode(bytes) * 0x9E3779B9; // of texts of digits the lower bits are much the same
        this.hash = found ^ found >>> 16;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Place place && hash == place.hash && Arrays.equals(bytes, place.bytes);
    }

    @Override
    public int hashCode() {
        return hash;
    }
}
