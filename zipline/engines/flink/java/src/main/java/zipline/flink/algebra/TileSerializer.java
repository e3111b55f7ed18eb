package zipline.flink.algebra;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSchemaCompatibility;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * Tiles of one group-by as state: their words and their intermediate results, whole. What is kept of the group-by belongs
 * to the serializer, not to each tile, and so to its snapshot: a job takes over no state of another definition.
 */
public final class TileSerializer extends TypeSerializer<Tile> {
    private static final long serialVersionUID = 1;

    private final String text;
    private transient Spec spec;

    public TileSerializer(String text) {
        this.text = text;
    }

    private Spec spec() {
        if (spec == null) {
            spec = Spec.of(text);
        }
        return spec;
    }

    @Override
    public boolean isImmutableType() {
        return false;
    }

    @Override
    public TypeSerializer<Tile> duplicate() {
        return this;
    }

    @Override
    public Tile createInstance() {
        return new Tile(spec());
    }

    @Override
    public Tile copy(Tile from) {
        return from.copied();
    }

    @Override
    public Tile copy(Tile from, Tile reuse) {
        return from.copied();
    }

    @Override
    public int getLength() {
        return -1;
    }

    @Override
    public void serialize(Tile tile, DataOutputView target) throws IOException {
        Output words = new Output(8 * tile.words.length);
        words.all(tile.words);
        target.write(words.whole());
        if (tile.irs.length > 0) {
            Output out = new Output(256);
            tile.write(out, false);
            byte[] content = out.taken();
            target.writeInt(content.length);
            target.write(content);
        }
    }

    @Override
    public Tile deserialize(DataInputView source) throws IOException {
        Tile tile = createInstance();
        byte[] words = new byte[8 * tile.words.length];
        source.readFully(words);
        new Input(words).all(tile.words);
        if (tile.irs.length > 0) {
            byte[] content = new byte[source.readInt()];
            source.readFully(content);
            tile.read(new Input(content));
        }
        return tile;
    }

    @Override
    public Tile deserialize(Tile reuse, DataInputView source) throws IOException {
        return deserialize(source);
    }

    @Override
    public void copy(DataInputView source, DataOutputView target) throws IOException {
        move(source, target, Long.BYTES * spec().words);
        if (spec().reductions.length > 0) {
            int length = source.readInt();
            target.writeInt(length);
            move(source, target, length);
        }
    }

    /** {@code target.write(source, length)} would need the room to be there. */
    private static void move(DataInputView source, DataOutputView target, int length) throws IOException {
        byte[] content = new byte[length];
        source.readFully(content);
        target.write(content);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof TileSerializer serializer && text.equals(serializer.text);
    }

    @Override
    public int hashCode() {
        return text.hashCode();
    }

    @Override
    public TypeSerializerSnapshot<Tile> snapshotConfiguration() {
        return new Snapshot(text);
    }

    /** What is kept of the group-by, as text in UTF-8 behind its size. */
    public static final class Snapshot implements TypeSerializerSnapshot<Tile> {
        private static final int VERSION = 3;
        private String text;

        public Snapshot() {}

        private Snapshot(String text) {
            this.text = text;
        }

        @Override
        public int getCurrentVersion() {
            return VERSION;
        }

        @Override
        public void writeSnapshot(DataOutputView target) throws IOException {
            byte[] content = text.getBytes(StandardCharsets.UTF_8);
            target.writeInt(content.length);
            target.write(content);
        }

        @Override
        public void readSnapshot(int version, DataInputView source, ClassLoader loader) throws IOException {
            if (version != VERSION) {
                throw new IOException("tiles of version " + version + ", this release reads version " + VERSION);
            }
            byte[] content = new byte[source.readInt()];
            source.readFully(content);
            text = new String(content, StandardCharsets.UTF_8);
        }

        @Override
        public TypeSerializer<Tile> restoreSerializer() {
            return new TileSerializer(text);
        }

        @Override
        public TypeSerializerSchemaCompatibility<Tile> resolveSchemaCompatibility(
                TypeSerializerSnapshot<Tile> oldSnapshot) {
            return oldSnapshot instanceof Snapshot old && old.text.equals(text)
                    ? TypeSerializerSchemaCompatibility.compatibleAsIs()
                    : TypeSerializerSchemaCompatibility.incompatible();
        }
    }
}
