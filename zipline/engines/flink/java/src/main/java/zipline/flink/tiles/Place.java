package zipline.flink.tiles;

import java.util.Arrays;

/** Bytes as the key of a map; one that is asked with is filled anew for every question. */
final class Place {
    private byte[] bytes;
    private int hash;

    void bytes(byte[] place) {
        bytes = place;
        int found = Arrays.hashCode(place) * 0x9E3779B9; // of texts of digits the lower bits are much the same
        hash = found ^ found >>> 16;
    }

    byte[] bytes() {
        return bytes;
    }

    Place kept() {
        var kept = new Place();
        kept.bytes = bytes;
        kept.hash = hash;
        return kept;
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
