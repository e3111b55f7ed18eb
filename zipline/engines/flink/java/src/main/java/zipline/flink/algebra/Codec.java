package zipline.flink.algebra;

/** The tags of values, as {@code zipline/algebra/codec.py} has them. */
final class Codec {
    static final int NONE = 0;
    static final int FALSE = 1;
    static final int TRUE = 2;
    static final int INT = 3;
    static final int BIG = 4;
    static final int FLOAT = 5;
    static final int WHOLE = 6;
    static final int TEXT = 7;
    static final int BYTES = 8;
    static final int DECIMAL = 9;
    static final int DATE = 10;
    static final int TUPLE = 11;
    static final int DICT = 12;
    static final int SKETCH = 13;
    static final int SMALL = 0x80;

    private Codec() {}
}
