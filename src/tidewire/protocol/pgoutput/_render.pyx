# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Rows to JSON in C: one pass over the stream's bytes, one output buffer, no object per column.

The twin of `text_values`, `render` and `row`: same bytes, same refusals. Safe on any bytes:
each length is checked against what is left before it is used, and every scan has an end.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memcpy

from tidewire.core.errors import ProtocolViolationError

ctypedef unsigned char byte

cdef enum:
    # The numbers of shape.ShapeKind.
    STRING = 0
    NUMBER = 1
    BOOLEAN = 2
    JSON = 3
    TIMESTAMP = 4
    TIMESTAMP_TZ = 5
    ARRAY = 6
    VECTOR = 7
    COMPOSITE = 8

cdef enum:
    DIMENSIONS_MAX = 6
    BUFFER_KEPT_MAX = 1048576  # a plan gives a larger buffer back after use

cdef const char* HEX = b"0123456789abcdef"
cdef byte ESCAPES[256]
cdef int _code
for _code in range(256):
    ESCAPES[_code] = 1 if (_code < 32 or _code == 34 or _code == 92) else 0


cdef int refuse() except -1:
    raise ProtocolViolationError("malformed row in the replication stream")


# ------------------------------------------------------------------ output buffer

cdef struct Buffer:
    char* data
    Py_ssize_t size
    Py_ssize_t room


cdef int reserve(Buffer* out, Py_ssize_t more) except -1:
    cdef Py_ssize_t room
    cdef char* data
    if out.size + more > out.room:
        room = (out.size + more) * 2
        data = <char*>PyMem_Realloc(out.data, room)
        if data == NULL:
            raise MemoryError()
        out.data = data
        out.room = room
    return 0


cdef inline int put(Buffer* out, const void* data, Py_ssize_t size) except -1:
    reserve(out, size)
    memcpy(out.data + out.size, data, size)
    out.size += size
    return 0


cdef inline int put_byte(Buffer* out, char value) except -1:
    reserve(out, 1)
    out.data[out.size] = value
    out.size += 1
    return 0


# ------------------------------------------------------------------ scalars

cdef int put_string(Buffer* out, const byte* text, Py_ssize_t size) except -1:
    cdef Py_ssize_t index, done = 0
    cdef byte value
    cdef char* at
    reserve(out, size * 6 + 2)  # the worst case, so that the loop checks nothing
    at = out.data + out.size
    at[0] = 34
    at += 1
    for index in range(size):
        value = text[index]
        if not ESCAPES[value]:
            continue
        memcpy(at, text + done, index - done)
        at += index - done
        done = index + 1
        at[0] = 92
        if value == 34 or value == 92:
            at[1] = value
        elif value == 8:
            at[1] = 98
        elif value == 9:
            at[1] = 116
        elif value == 10:
            at[1] = 110
        elif value == 12:
            at[1] = 102
        elif value == 13:
            at[1] = 114
        else:
            memcpy(at + 1, b"u00", 3)
            at[4] = HEX[value >> 4]
            at[5] = HEX[value & 15]
            at += 4
        at += 2
    memcpy(at, text + done, size - done)
    at += size - done
    at[0] = 34
    out.size = at + 1 - out.data
    return 0


cdef int put_timestamp(Buffer* out, const byte* text, Py_ssize_t size, bint with_zone) except -1:
    cdef Py_ssize_t moment = size
    cdef Py_ssize_t begin
    cdef const void* space
    if size == 0 or text[0] < 48 or text[0] > 57 or memchr(text, 32, size) == NULL:
        return put_string(out, text, size)
    if with_zone and size >= 3 and memcmp(text + size - 3, b" BC", 3) == 0:
        moment -= 3
    begin = out.size
    put_string(out, text, moment)
    space = memchr(out.data + begin, 32, out.size - begin)
    if space != NULL:
        (<char*>space)[0] = 84
    out.size -= 1  # the closing quote comes last
    if with_zone and moment >= 3 and (text[moment - 3] == 43 or text[moment - 3] == 45):
        put(out, b":00", 3)
    put(out, text + moment, size - moment)
    return put_byte(out, 34)


cdef inline int put_scalar(Buffer* out, int kind, const byte* text, Py_ssize_t size) except -1:
    if kind == STRING:
        return put_string(out, text, size)
    if kind == NUMBER:
        if size == 0:
            return refuse()
        if text[size - 1] < 58:
            return put(out, text, size)
        return put_string(out, text, size)
    if kind == BOOLEAN:
        if size == 1 and text[0] == 116:
            return put(out, b"true", 4)
        return put(out, b"false", 5)
    if kind == JSON:
        if size == 0:
            return refuse()
        return put(out, text, size)
    return put_timestamp(out, text, size, kind == TIMESTAMP_TZ)


# ------------------------------------------------------------------ nested values

cdef class Shape:
    """A compiled `shape.Shape`."""

    cdef int kind
    cdef byte delimiter
    cdef Shape element
    cdef list names
    cdef list fields

    def __cinit__(self, shape):
        self.kind = shape.kind
        self.delimiter = shape.delimiter[0]
        self.element = None if shape.element is None else Shape(shape.element)
        self.names = list(shape.names)
        self.fields = [Shape(field) for field in shape.fields]
        if self.kind in (ARRAY, VECTOR):
            assert self.element is not None
        assert len(self.names) == len(self.fields)


cdef int put_value(Buffer* out, Shape shape, const byte* text, Py_ssize_t size) except -1:
    cdef Py_ssize_t start = 0
    cdef const byte* mark
    if shape.kind < ARRAY:
        return put_scalar(out, shape.kind, text, size)
    if shape.kind == VECTOR:
        return put_vector(out, shape, text, size)
    if size == 0:
        return refuse()
    if shape.kind == COMPOSITE:
        return put_composite(out, shape, text, size)
    if text[0] == 91:  # explicit bounds, "[2:3]={...}", are not told
        mark = <const byte*>memchr(text, 61, size)
        if mark == NULL:
            return refuse()
        start = mark - text + 1
    if put_array(out, shape, text, start, size, 1) != size:
        return refuse()
    return 0


cdef inline bint is_space(byte value):
    return value == 32 or 9 <= value <= 13


cdef int put_vector(Buffer* out, Shape shape, const byte* text, Py_ssize_t size) except -1:
    cdef Py_ssize_t start, position = 0
    cdef bint first = True
    put_byte(out, 91)
    while True:
        while position < size and is_space(text[position]):
            position += 1
        if position == size:
            break
        start = position
        while position < size and not is_space(text[position]):
            position += 1
        if not first:
            put_byte(out, 44)
        first = False
        put_value(out, shape.element, text + start, position - start)
    return put_byte(out, 93)


cdef Py_ssize_t put_array(
    Buffer* out, Shape shape, const byte* text, Py_ssize_t position, Py_ssize_t size, int depth
) except -1:
    """Render the braces that open at `position`; returns the place behind them."""
    if depth > DIMENSIONS_MAX or position >= size or text[position] != 123:
        return refuse()
    put_byte(out, 91)
    position += 1
    if position < size and text[position] == 125:
        put_byte(out, 93)
        return position + 1
    while True:
        position = put_item(out, shape, text, position, size, depth)
        if position >= size:
            return refuse()
        if text[position] == 125:
            put_byte(out, 93)
            return position + 1
        if text[position] != shape.delimiter:
            return refuse()
        put_byte(out, 44)
        position += 1


cdef Py_ssize_t put_item(
    Buffer* out, Shape shape, const byte* text, Py_ssize_t position, Py_ssize_t size, int depth
) except -1:
    cdef Py_ssize_t start = position
    cdef byte value
    if position >= size:
        return refuse()
    if text[position] == 123:
        return put_array(out, shape, text, position, size, depth + 1)
    if text[position] == 34:
        return put_quoted(out, shape.element, text, position, size, False)
    while position < size:
        value = text[position]
        if value == shape.delimiter or value == 125 or value == 123 or value == 34 or value == 92:
            break
        position += 1
    if position == start:
        return refuse()
    if position - start == 4 and memcmp(text + start, b"NULL", 4) == 0:
        put(out, b"null", 4)
    else:
        put_value(out, shape.element, text + start, position - start)
    return position


cdef Py_ssize_t put_quoted(
    Buffer* out, Shape shape, const byte* text, Py_ssize_t position, Py_ssize_t size, bint doubled
) except -1:
    """Render the value whose opening quote stands at `position`; returns the place behind it."""
    cdef Py_ssize_t end = quoted_end(text, position, size, doubled)
    cdef Py_ssize_t index = position + 1, length = 0
    cdef byte* plain
    if memchr(text + index, 92, end - index) == NULL and (
        not doubled or memchr(text + index, 34, end - index) == NULL
    ):
        put_value(out, shape, text + index, end - index)
        return end + 1
    plain = <byte*>PyMem_Malloc(end - index)
    if plain == NULL:
        raise MemoryError()
    try:
        while index < end:
            if text[index] == 92 or text[index] == 34:
                index += 1  # a pair: its second byte counts; quoted_end saw that it is there
            plain[length] = text[index]
            length += 1
            index += 1
        put_value(out, shape, plain, length)
    finally:
        PyMem_Free(plain)
    return end + 1


cdef Py_ssize_t quoted_end(
    const byte* text, Py_ssize_t position, Py_ssize_t size, bint doubled
) except -1:
    """Where the closing quote stands, all pairs before it whole."""
    cdef Py_ssize_t index = position + 1
    while index < size:
        if text[index] == 92:
            index += 2
        elif text[index] != 34:
            index += 1
        elif doubled and index + 1 < size and text[index + 1] == 34:
            index += 2
        else:
            return index
    return refuse()


cdef int put_composite(Buffer* out, Shape shape, const byte* text, Py_ssize_t size) except -1:
    cdef Py_ssize_t index, start, position = 1
    cdef bytes name
    cdef byte value
    if text[0] != 40:
        return refuse()
    put_byte(out, 123)
    for index in range(len(shape.fields)):
        if index:
            if position >= size or text[position] != 44:
                return refuse()
            position += 1
            put_byte(out, 44)
        name = <bytes>shape.names[index]
        put(out, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        if position < size and text[position] == 34:
            position = put_quoted(out, <Shape>shape.fields[index], text, position, size, True)
            continue
        start = position
        while position < size:
            value = text[position]
            if value == 44 or value == 41 or value == 40 or value == 34 or value == 92:
                break
            position += 1
        if position == start:
            put(out, b"null", 4)
        else:
            put_value(out, <Shape>shape.fields[index], text + start, position - start)
    if position + 1 != size or text[position] != 41:
        return refuse()
    return put_byte(out, 125)


# ------------------------------------------------------------------ rows

cdef inline uint32_t read_u32(const byte* data):
    return (
        (<uint32_t>data[0] << 24) | (<uint32_t>data[1] << 16) | (<uint32_t>data[2] << 8) | data[3]
    )


cdef inline Py_ssize_t after_column(
    const byte* data, Py_ssize_t position, Py_ssize_t size
) except -1:
    """The place behind the column at `position`, proven to lie within `size`."""
    cdef Py_ssize_t length
    if position >= size:
        return refuse()
    if data[position] == 116:
        if size - position < 5:
            return refuse()
        length = read_u32(data + position + 1)
        if length > size - position - 5:
            return refuse()
        return position + 5 + length
    if data[position] != 110 and data[position] != 117:
        return refuse()
    return position + 1


cdef Py_ssize_t find_column(const byte* data, Py_ssize_t size, Py_ssize_t index) except -1:
    """Where the column of that index begins, proven to lie within `size`."""
    cdef Py_ssize_t position = 2
    if size < 2 or index < 0 or index >= ((<Py_ssize_t>data[0] << 8) | data[1]):
        return refuse()
    for _ in range(index):
        position = after_column(data, position, size)
    after_column(data, position, size)
    return position


cdef object value_at(const byte* data, Py_ssize_t position, object unchanged):
    if data[position] == 110:
        return None
    if data[position] == 117:
        return unchanged
    return PyBytes_FromStringAndSize(
        <const char*>data + position + 5, read_u32(data + position + 1)
    )


def column_text(bytes data not None, Py_ssize_t index, unchanged):
    """See `row.column_text`."""
    cdef const byte* at = <const byte*>PyBytes_AS_STRING(data)
    return value_at(at, find_column(at, PyBytes_GET_SIZE(data), index), unchanged)


def split_row(bytes data not None, unchanged):
    """See `row.split_row`."""
    cdef const byte* at = <const byte*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t end, size = PyBytes_GET_SIZE(data), position = 2
    cdef list values = []
    if size < 2:
        refuse()
    for _ in range((<int>at[0] << 8) | at[1]):
        end = after_column(at, position, size)
        values.append(value_at(at, position, unchanged))
        position = end
    if position != size:
        refuse()
    return values


def row_end(bytes data not None, Py_ssize_t start):
    """See `row.row_end`."""
    cdef const byte* at = <const byte*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), position = start + 2
    if start < 0 or position > size:
        refuse()
    for _ in range((<int>at[start] << 8) | at[start + 1]):
        position = after_column(at, position, size)
    return position


cdef class RowPlan:
    """How the rows of one relation render: names and shapes of its columns, and a buffer.

    Args:
        names: Per column its name as JSON text with a colon; None leaves the column out.
        shapes: Per column its `shape.Shape`.
    """

    cdef int count
    cdef list names
    cdef list shapes
    cdef int* kinds
    cdef Buffer out

    def __cinit__(self, list names not None, list shapes not None):
        assert len(names) == len(shapes)
        self.count = len(names)
        self.names = names
        self.shapes = [Shape(shape) for shape in shapes]
        self.kinds = <int*>PyMem_Malloc((self.count + 1) * sizeof(int))
        if self.kinds == NULL:
            raise MemoryError()
        for index, name in enumerate(names):
            assert name is None or isinstance(name, bytes)
            self.kinds[index] = -1 if name is None else shapes[index].kind

    def __dealloc__(self):
        PyMem_Free(self.kinds)
        PyMem_Free(self.out.data)

    def render(self, bytes row not None, bytes fallback=None):
        """See `render.RowRenderer.render`."""
        self.out.size = 0
        put_byte(&self.out, 123)
        self.put_columns(
            <const byte*>PyBytes_AS_STRING(row), PyBytes_GET_SIZE(row), fallback
        )
        # Behind the last column stands a comma, or the opening brace when there is none.
        if self.out.data[self.out.size - 1] == 44:
            self.out.size -= 1
        put_byte(&self.out, 125)
        result = self.take()
        if self.out.room > BUFFER_KEPT_MAX:
            PyMem_Free(self.out.data)
            self.out.data = NULL
            self.out.room = 0
        return result

    cdef int put_columns(self, const byte* row, Py_ssize_t size, bytes fallback) except -1:
        cdef Py_ssize_t end, position = 2
        cdef int index
        if size < 2 or ((<int>row[0] << 8) | row[1]) != self.count:
            return refuse()
        for index in range(self.count):
            end = after_column(row, position, size)
            if self.kinds[index] >= 0:
                if row[position] == 116:
                    self.put_column(index, row + position + 5, end - position - 5)
                elif row[position] == 110:
                    self.put_name(index)
                    put(&self.out, b"null,", 5)
                elif fallback is not None:
                    self.put_fallback(index, fallback)
            position = end
        if position != size:
            return refuse()
        return 0

    cdef inline int put_name(self, int index) except -1:
        cdef bytes name = <bytes>self.names[index]
        return put(&self.out, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))

    cdef inline int put_column(self, int index, const byte* text, Py_ssize_t size) except -1:
        self.put_name(index)
        if self.kinds[index] < ARRAY:
            put_scalar(&self.out, self.kinds[index], text, size)
        else:
            put_value(&self.out, <Shape>self.shapes[index], text, size)
        return put_byte(&self.out, 44)

    cdef int put_fallback(self, int index, bytes fallback) except -1:
        """The column from the old row, unless that does not hold it either."""
        cdef const byte* at = <const byte*>PyBytes_AS_STRING(fallback)
        cdef Py_ssize_t position = find_column(at, PyBytes_GET_SIZE(fallback), index)
        if at[position] != 116:
            return 0
        return self.put_column(index, at + position + 5, read_u32(at + position + 1))

    cdef bytes take(self):
        """What was written. Bytes that are no UTF-8 are replaced, as the twin does."""
        cdef Py_ssize_t index
        cdef byte seen = 0
        for index in range(self.out.size):
            seen |= <byte>self.out.data[index]
        if seen & 128:
            try:
                PyUnicode_DecodeUTF8(self.out.data, self.out.size, NULL)
            except UnicodeDecodeError:
                return PyUnicode_DecodeUTF8(self.out.data, self.out.size, b"replace").encode()
        return PyBytes_FromStringAndSize(self.out.data, self.out.size)
