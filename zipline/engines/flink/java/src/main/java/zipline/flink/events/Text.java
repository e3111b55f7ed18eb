package zipline.flink.events;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.Arrays;

/**
 * JSON read from bytes, token by token. It takes what RFC 8259 says and nothing else: no byte order mark, no half of a
 * surrogate pair, no number with a leading zero.
 */
final class Text {
    private static final double[] POWERS = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22
    };
    private static final int DEEPEST = 512;

    byte[] bytes;
    int at;
    int end;

    /** The last string: where its bytes are, and whether they may be more than ASCII. */
    byte[] chars;

    int from;
    int to;
    boolean isAscii;

    /** The last number: where it is, whether it has a fraction or an exponent, and what it is if it is short. */
    byte[] numberIn;

    int start;
    int numberEnd;
    boolean isFloat;
    private boolean isNegative;
    private long mantissa;
    private int digits;
    private int fraction;
    private int exponent;
    private int exponentAt;

    private byte[] scratch = new byte[64];

    void open(byte[] content, int first, int last) {
        bytes = content;
        at = first;
        end = last;
    }

    /** The next byte that is no white space; it stays the next. */
    int peek() throws Refused {
        byte[] b = bytes;
        for (int i = at; i < end; i++) {
            int c = b[i];
            if (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
                at = i;
                return c;
            }
        }
        at = end;
        throw truncated();
    }

    /** Nothing but white space may follow. */
    void close() throws Refused {
        for (; at < end; at++) {
            int c = bytes[at];
            if (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
                at++;
                throw malformed("trailing characters");
            }
        }
    }

    void colon() throws Refused {
        if (peek() != ':') {
            throw malformed("expected ':'");
        }
        at++;
    }

    /** Goes to the next item of a list or field of an object; false behind its last. `at` is behind the bracket. */
    boolean next(boolean isFirst, char close) throws Refused {
        int c = peek();
        if (c == close) {
            at++;
            return false;
        }
        if (isFirst) {
            return true;
        }
        if (c != ',') {
            throw malformed("expected ',' or '" + close + "'");
        }
        at++;
        if (peek() == close) {
            throw malformed(close == ']' ? "trailing comma in array" : "trailing comma in object");
        }
        return true;
    }

    void literal(String word) throws Refused {
        if (end - at < word.length()) {
            throw truncated();
        }
        int first = at;
        at += word.length();
        for (int i = 1; i < word.length(); i++) {
            if (bytes[first + i] != word.charAt(i)) {
                throw malformed("invalid character");
            }
        }
    }

    /** A field's name, which is the string that begins here. */
    void name() throws Refused {
        if (peek() != '"') {
            throw malformed("object keys must be strings");
        }
        string();
    }

    /** Whether the string that begins here is exactly this, which is then read. */
    boolean isName(byte[] name) {
        int behind = at + 1 + name.length;
        if (behind >= end || bytes[behind] != '"') {
            return false;
        }
        if (!Arrays.equals(bytes, at + 1, behind, name, 0, name.length)) {
            return false;
        }
        at = behind + 1;
        return true;
    }

    /** The string that begins here; its bytes need not be UTF-8. */
    void string() throws Refused {
        byte[] b = bytes;
        int i = at + 1;
        int first = i;
        int all = 0;
        for (; i < end; i++) {
            int c = b[i];
            if (c == '"') {
                chars = b;
                from = first;
                to = i;
                isAscii = all >= 0;
                at = i + 1;
                return;
            }
            if (c == '\\') {
                escaped(first, i, all >= 0);
                return;
            }
            if (c >= 0 && c < ' ') {
                at = i;
                throw malformed("invalid character");
            }
            all |= c;
        }
        at = end;
        throw truncated();
    }

    private void escaped(int first, int escape, boolean wasAscii) throws Refused {
        int length = escape - first;
        if (scratch.length < length + 64) {
            scratch = new byte[Math.max(2 * scratch.length, length + 64)];
        }
        System.arraycopy(bytes, first, scratch, 0, length);
        boolean ascii = wasAscii;
        at = escape;
        while (at < end) {
            if (scratch.length < length + 8) {
                scratch = Arrays.copyOf(scratch, 2 * scratch.length);
            }
            int c = bytes[at];
            if (c == '"') {
                at++;
                chars = scratch;
                from = 0;
                to = length;
                isAscii = ascii;
                return;
            }
            if (c >= 0 && c < ' ') {
                throw malformed("invalid character");
            }
            at++;
            if (c == '\\') {
                int point = escape();
                ascii &= point < 0x80;
                length = put(point, length);
            } else {
                ascii &= c >= 0;
                scratch[length++] = (byte) c;
            }
        }
        throw truncated();
    }

    private int escape() throws Refused {
        if (at == end) {
            throw truncated();
        }
        switch (bytes[at++]) {
            case '"':
                return '"';
            case '\\':
                return '\\';
            case '/':
                return '/';
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'u':
                break;
            default:
                throw malformed("invalid escape character in string");
        }
        int unit = unit();
        if (unit < 0xD800 || unit > 0xDFFF) {
            return unit;
        }
        if (unit >= 0xDC00) {
            throw malformed("invalid utf-16 surrogate pair");
        }
        if (end - at < 6) {
            throw truncated();
        }
        if (bytes[at] != '\\' || bytes[at + 1] != 'u') {
            throw malformed("unexpected end of escaped utf-16 surrogate pair");
        }
        at += 2;
        int low = unit();
        if (low < 0xDC00 || low > 0xDFFF) {
            throw malformed("invalid utf-16 surrogate pair");
        }
        return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }

    private int unit() throws Refused {
        if (end - at < 4) {
            throw truncated();
        }
        int found = 0;
        for (int i = 0; i < 4; i++) {
            int c = bytes[at++];
            int digit = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
            if (digit < 0) {
                throw malformed("invalid character in unicode escape");
            }
            found = found << 4 | digit;
        }
        return found;
    }

    private int put(int point, int length) {
        int i = length;
        if (point < 0x80) {
            scratch[i++] = (byte) point;
            return i;
        }
        if (point < 0x800) {
            scratch[i++] = (byte) (0xC0 | point >> 6);
        } else {
            if (point < 0x10000) {
                scratch[i++] = (byte) (0xE0 | point >> 12);
            } else {
                scratch[i++] = (byte) (0xF0 | point >> 18);
                scratch[i++] = (byte) (0x80 | point >> 12 & 0x3F);
            }
            scratch[i++] = (byte) (0x80 | point >> 6 & 0x3F);
        }
        scratch[i++] = (byte) (0x80 | point & 0x3F);
        return i;
    }

    /** The last string must be UTF-8: no overlong form, no half of a surrogate pair. */
    void unicode() throws Refused {
        if (isAscii) {
            return;
        }
        byte[] b = chars;
        for (int i = from; i < to; ) {
            int c = b[i];
            if (c >= 0) {
                i++;
                continue;
            }
            int length = c >= (byte) 0xC2 && c <= (byte) 0xDF ? 2 : c >= (byte) 0xE0 && c <= (byte) 0xEF ? 3 : c >= (byte) 0xF0 && c <= (byte) 0xF4 ? 4 : 0;
            if (length == 0 || i + length > to) {
                throw notUnicode(i);
            }
            for (int k = 1; k < length; k++) {
                if ((b[i + k] & 0xC0) != 0x80) {
                    throw notUnicode(i);
                }
            }
            int second = b[i + 1] & 0xFF;
            if ((c == (byte) 0xE0 && second < 0xA0)
                    || (c == (byte) 0xED && second > 0x9F)
                    || (c == (byte) 0xF0 && second < 0x90)
                    || (c == (byte) 0xF4 && second > 0x8F)) {
                throw notUnicode(i);
            }
            i += length;
        }
    }

    private Refused notUnicode(int place) {
        return Refused.malformed(String.format("text that is no UTF-8: byte 0x%02x", chars[place] & 0xFF));
    }

    /** The last string as Java has it. */
    String shown() {
        return new String(chars, from, to - from, UTF_8);
    }

    /** The number that begins here. */
    void number() throws Refused {
        byte[] b = bytes;
        int i = at;
        start = i;
        isFloat = false;
        isNegative = b[i] == '-';
        exponent = 0;
        exponentAt = -1;
        fraction = 0;
        if (isNegative && ++i == end) {
            at = i;
            throw malformed("invalid number");
        }
        long m = 0;
        int first = i;
        if (b[i] == '0') {
            i++;
            if (i < end && isDigit(b[i])) {
                at = i;
                throw malformed("invalid number");
            }
        } else {
            for (; i < end && isDigit(b[i]); i++) {
                m = m * 10 + (b[i] - '0');
            }
            if (i == first) {
                at = i;
                throw malformed("invalid character");
            }
        }
        int count = i - first;
        if (i < end && b[i] == '.') {
            isFloat = true;
            int point = ++i;
            for (; i < end && isDigit(b[i]); i++) {
                m = m * 10 + (b[i] - '0');
            }
            if (i == point) {
                at = i;
                throw malformed("invalid number");
            }
            fraction = i - point;
            count += fraction;
        }
        if (i < end && (b[i] == 'e' || b[i] == 'E')) {
            i = exponent(b, i);
        }
        mantissa = m;
        digits = count;
        at = i;
        numberIn = b;
        numberEnd = i;
    }

    private int exponent(byte[] b, int place) throws Refused {
        isFloat = true;
        exponentAt = place;
        int i = place + 1;
        boolean isMinus = i < end && b[i] == '-';
        if (i < end && (isMinus || b[i] == '+')) {
            i++;
        }
        int first = i;
        for (; i < end && isDigit(b[i]); i++) {
            if (exponent < 10_000) {
                exponent = exponent * 10 + (b[i] - '0');
            }
        }
        if (i == first) {
            at = i;
            throw malformed("invalid number");
        }
        exponent = isMinus ? -exponent : exponent;
        return i;
    }

    /** The number that the last string is, if it is one from its first byte to its last. */
    boolean isNumber() {
        byte[] b = bytes;
        int behind = end;
        int here = at;
        bytes = chars;
        at = from;
        end = to;
        try {
            if (from == to) {
                return false;
            }
            number();
            return at == to;
        } catch (Refused none) {
            return false;
        } finally {
            bytes = b;
            end = behind;
            at = here;
        }
    }

    /** The last number, which has neither fraction nor exponent. */
    long whole(long least, long most) throws Refused {
        long found;
        if (digits <= 18) {
            found = isNegative ? -mantissa : mantissa;
        } else if (numberEnd - start > 4300) {
            throw new Refused("Integer value out of range");
        } else {
            try {
                found = Long.parseLong(digitsShown());
            } catch (NumberFormatException beyond) {
                throw bound(isNegative, least, most);
            }
        }
        if (found < least || found > most) {
            throw bound(found < least, least, most);
        }
        return found;
    }

    private static Refused bound(boolean isBelow, long least, long most) {
        return new Refused(isBelow ? "Expected int >= " + least : "Expected int <= " + most);
    }

    /** The last number as the nearest double. */
    double real() throws Refused {
        if (digits <= 18) {
            if (!isFloat) {
                return isNegative ? -mantissa : mantissa;
            }
            int power = exponent - fraction;
            if (mantissa < 1L << 53 && power >= -22 && power <= 22) {
                double value = power < 0 ? mantissa / POWERS[-power] : mantissa * POWERS[power];
                return isNegative ? -value : value;
            }
        }
        String text = exponentAt < 0
                ? digitsShown()
                : new String(numberIn, start, exponentAt - start, ISO_8859_1) + "e" + exponent;
        double value = Double.parseDouble(text);
        if (Double.isInfinite(value)) {
            throw new Refused("Number out of range");
        }
        return value;
    }

    private String digitsShown() {
        return new String(numberIn, start, numberEnd - start, ISO_8859_1);
    }

    static boolean isDigit(byte c) {
        return c >= '0' && c <= '9';
    }

    /** Passes over a value that nobody asks for. */
    void skip() throws Refused {
        skip(0);
    }

    private void skip(int depth) throws Refused {
        if (depth > DEEPEST) {
            throw Refused.malformed("it is nested too deeply");
        }
        switch (peek()) {
            case 'n' -> literal("null");
            case 't' -> literal("true");
            case 'f' -> literal("false");
            case '"' -> string();
            case '[' -> {
                at++;
                for (boolean isFirst = true; next(isFirst, ']'); isFirst = false) {
                    skip(depth + 1);
                }
            }
            case '{' -> {
                at++;
                for (boolean isFirst = true; next(isFirst, '}'); isFirst = false) {
                    name();
                    colon();
                    skip(depth + 1);
                }
            }
            default -> number();
        }
    }

    Refused malformed(String what) {
        return Refused.malformed("JSON is malformed: " + what + " (byte " + at + ")");
    }

    private static Refused truncated() {
        return Refused.malformed("Input data was truncated");
    }
}
