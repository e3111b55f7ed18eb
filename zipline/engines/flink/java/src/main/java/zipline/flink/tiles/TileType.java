package zipline.flink.tiles;

import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import zipline.flink.algebra.Tile;
import zipline.flink.algebra.TileSerializer;

/** Tiles of one group-by as what goes from one operator to the next. */
final class TileType extends TypeInformation<Tile> {
    private static final long serialVersionUID = 1L;

    private final TileSerializer tiles;

    TileType(TileSerializer tiles) {
        this.tiles = tiles;
    }

    @Override
    public boolean isBasicType() {
        return false;
    }

    @Override
    public boolean isTupleType() {
        return false;
    }

    @Override
    public int getArity() {
        return 1;
    }

    @Override
    public int getTotalFields() {
        return 1;
    }

    @Override
    public Class<Tile> getTypeClass() {
        return Tile.class;
    }

    @Override
    public boolean isKeyType() {
        return false;
    }

    @Override
    public TypeSerializer<Tile> createSerializer(SerializerConfig config) {
        return tiles;
    }

    @Override
    public String toString() {
        return "Tile";
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof TileType type && tiles.equals(type.tiles);
    }

    @Override
    public int hashCode() {
        return tiles.hashCode();
    }

    @Override
    public boolean canEqual(Object other) {
        return other instanceof TileType;
    }
}
