package zipline.flink.events;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.regex.Pattern;
import org.apache.flink.table.data.DecimalData;

/** Decimals of a column: a value fits if it is exactly one of so many digits, so many of them after the point. */
final class Decimals {
    private static final Pattern NUMBER = Pattern.compile("[+-]?(?:[0-9]++(?:\\.[0-9]*+)?|\\.[0-9]++)(?:[eE][+-]?[0-9]++)?");
    private static final Pattern NONE = Pattern.compile("[+-]?(?:inf(?:inity)?|s?nan[0-9]*+)", Pattern.CASE_INSENSITIVE);
    private static final long LARGEST_EXPONENT = 999_999_999_999_999_999L;
    private static final long SMALLEST_EXPONENT = -1_999_999_999_999_999_997L;
    private static final long BEYOND = 4_000_000_000_000_000_000L;
    private static final int MOST_DIGITS = 38;

    private Decimals() {}

    /** Of text as Python's Decimal takes it: spaces around it, digits of any script, underscores. */
    static DecimalData of(String text, int precision, int scale) throws Refused {
        String plain = plain(text);
        if (NONE.matcher(plain).matches()) {
            throw new Refused.Unfit("is no number");
        }
        if (!NUMBER.matcher(plain).matches()) {
            throw new Refused("Invalid decimal string");
        }
        byte[] bytes = plain.getBytes(ISO_8859_1);
        return of(bytes, 0, bytes.length, precision, scale);
    }

    /** Whether it is Python's way to write what is no number. */
    static boolean isNone(String text) {
        return NONE.matcher(text).matches();
    }

    private static String plain(String text) {
        int from = 0;
        int to = text.length();
        while (from < to && isSpace(text.charAt(from))) {
            from++;
        }
        while (to > from && isSpace(text.charAt(to - 1))) {
            to--;
        }
        StringBuilder found = new StringBuilder(to - from);
        text.substring(from, to).codePoints().forEach(point -> {
            if (point != '_') {
                boolean isDigit = point > 0x7F && Character.getType(point) == Character.DECIMAL_DIGIT_NUMBER;
                found.append(isDigit ? (char) ('0' + Character.digit(point, 10)) : point < 0x80 ? (char) point : '?');
            }
        });
        return found.toString();
    }

    private static boolean isSpace(char c) {
        return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F) || c == 0x85 || c == 0xA0 || c == 0x1680
                || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
    }

    /** Of a number. Only digits from the first to the last that is not zero are computed with, so a long one is quick. */
    static DecimalData of(byte[] b, int from, int to, int precision, int scale) throws Refused {
        byte[] digits = new byte[MOST_DIGITS];
        int count = 0;
        int zeros = 0;
        boolean isLong = false;
        boolean isBehindPoint = false;
        int fraction = 0;
        int i = from;
        boolean isNegative = b[i] == '-';
        if (isNegative || b[i] == '+') {
            i++;
        }
        for (; i < to && b[i] != 'e' && b[i] != 'E'; i++) {
            if (b[i] == '.') {
                isBehindPoint = true;
                continue;
            }
            fraction += isBehindPoint ? 1 : 0;
            if (b[i] == '0') {
                zeros += count > 0 ? 1 : 0;
                continue;
            }
            if (count + zeros >= MOST_DIGITS) {
                isLong = true;
            }
            while (!isLong && zeros > 0) {
                digits[count++] = '0';
                zeros--;
            }
            if (isLong) {
                count += zeros + 1;
                zeros = 0;
            } else {
                digits[count++] = b[i];
            }
        }
        long exponent = exponent(b, i, to) - fraction;
        if (exponent > LARGEST_EXPONENT || exponent < SMALLEST_EXPONENT) {
            throw new Refused("Invalid decimal string");
        }
        if (count == 0) {
            return DecimalData.zero(precision, scale);
        }
        long last = exponent + zeros;
        if (count + last > precision - scale) {
            throw new Refused.Unfit("has more than " + (precision - scale) + " digits before the point");
        }
        if (last < -scale) {
            throw new Refused.Unfit("would cause data loss: it has more than " + scale + " digits after the point");
        }
        if (precision <= 18) {
            long unscaled = 0;
            for (int k = 0; k < count + last + scale; k++) {
                unscaled = unscaled * 10 + (k < count ? digits[k] - '0' : 0);
            }
            return DecimalData.fromUnscaledLong(isNegative ? -unscaled : unscaled, precision, scale);
        }
        BigInteger value = new BigInteger(new String(digits, 0, count, ISO_8859_1));
        value = value.multiply(BigInteger.TEN.pow((int) (last + scale)));
        return DecimalData.fromBigDecimal(new BigDecimal(isNegative ? value.negate() : value, scale), precision, scale);
    }

    /** The exponent, or one that is far beyond all that are taken. */
    private static long exponent(byte[] b, int e, int to) {
        if (e == to) {
            return 0;
        }
        boolean isNegative = b[e + 1] == '-';
        long found = 0;
        for (int i = isNegative || b[e + 1] == '+' ? e + 2 : e + 1; i < to; i++) {
            found = found > LARGEST_EXPONENT / 10 ? BEYOND : found * 10 + (b[i] - '0');
        }
        return isNegative ? -found : found;
    }
}
