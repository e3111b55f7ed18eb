package zipline.flink.tiles;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * Places as their bytes behind their number. Checkpoints of many keys are mostly these, so it takes two calls: an int is
 * written byte by byte.
 */
final class PlaceSerializer extends TypeSerializerSingleton<Place> {
    static final PlaceSerializer INSTANCE = new PlaceSerializer();
    private static final long serialVersionUID = 1L;
    /** Stands for a number of bytes that takes more than one. */
    private static final int LONG = 0xFF;

    private PlaceSerializer() {}

    @Override
    public boolean isImmutableType() {
        return true;
    }

    @Override
    public Place createInstance() {
        return new Place(new byte[0]);
    }

    @Override
    public Place copy(Place from) {
        return from;
    }

    @Override
    public Place copy(Place from, Place reuse) {
        return from;
    }

    @Override
    public int getLength() {
        return -1;
    }

    @Override
    public void serialize(Place place, DataOutputView target) throws IOException {
        int length = place.bytes.length;
        target.writeByte(Math.min(length, LONG));
        if (length >= LONG) {
            target.writeInt(length);
        }
        target.write(place.bytes);
    }

    @Override
    public Place deserialize(DataInputView source) throws IOException {
        int length = source.readUnsignedByte();
        byte[] bytes = new byte[length < LONG ? length : source.readInt()];
        source.readFully(bytes);
        return new Place(bytes);
    }

    @Override
    public Place deserialize(Place reuse, DataInputView source) throws IOException {
        return deserialize(source);
    }

    @Override
    public void copy(DataInputView source, DataOutputView target) throws IOException {
        serialize(deserialize(source), target);
    }

    @Override
    public TypeSerializerSnapshot<Place> snapshotConfiguration() {
        return new Snapshot();
    }

    /** That of the one instance there is. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Place> {
        public Snapshot() {
            super(() -> INSTANCE);
        }
    }
}
