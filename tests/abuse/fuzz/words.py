"""Words that mean something to a parser, and texts and requests from which edits begin."""

from __future__ import annotations

# Markers of JPEG, chunks of PNG and WebP, boxes of AVIF and HEIC, heads of TIFF.
IMAGE_WORDS = (
    *(b"\xff" + bytes([marker]) for marker in b"\xc0\xc2\xc4\xc9\xcc\xd0\xd8\xd9\xda\xdb\xdd\xe1"),
    *(b"\xff\xda\0\x08\x01\x01\0\0\x3f\0", b"\xff\xdd\0\4\0\1", b"\xff\xe1\0\x08Exif\0\0", b"\xff\xfe\0\2"),
    *b"IHDR IDAT fdAT fcTL acTL PLTE tRNS iCCP zTXt eXIf IEND VP8L VP8X ANIM ANMF ALPH ICCP EXIF".split(),
    *(
        b"VP8 ",
        b"XMP ",
        b"II*\0",
        b"MM\0*",
        b"Exif\0\0",
        *b"ftyp meta iloc ispe av1C hvcC irot imir grid mdat".split(),
    ),
)

# Entities in all spellings, text decoded wrongly once or twice, marks that combine, emoji, halves of pairs.
_SPACES = (
    *(" ", "\t", "\n", "\r\n", "\r", "\u2028", "\x85", "\xa0", "\u3000"),
    *("\0", "\x1b[0m", "\xc2\xa0", "Ã "),
)
_WORDS = """cat &amp; amp; & &lt; &# &#x 38; &#38; &#x26; &#0; &#xD800; &#1114112; 1 0 &AMP; &notin; < <b>
</ &NotEqualTilde; &CounterClockwiseContourIntegral; ï¼† ＆ａｍｐ； ＃ ３８； ﬁ ﬀ Ã© â€™ Ã¢â‚¬â„¢ ÃƒÂ©
Ð¿Ñ€ æ—¥ Â ä½ å¥½ ´ ™ ‚‘’“” \u0300 \u0345 \u1ab0 \u20dd \u0e33 \u1161\u11a8 \uac00 \u202e \u200d \u200b
\ufeff \ufffd \ufffe \uffff 👨‍👩‍👧‍👦 🇩🇪 🏴\U000e0067\U000e007f \ud83d \udc00 \U0010ffff İ ß ς ﷺ
\u0130\u0307 [CLS] [SEP] [UNK] [MASK] ##ing <start_of_text> <end_of_text> _ - ... 's"""
TEXT_WORDS = ("a photo of a cat", "\x81\x8d", *_SPACES, *_WORDS.split())

JSON_WORDS = (
    *rb"""{ } [ ] , : " \ null true 1e999 -0 0.1e-9 NaN \u0061 \ud800 \u0000 "a" ["a","b"] {"a": [[ {}""".split(),
    *b'"images": "labels": "templates": "texts": "top_k": "model": "truncate":true imagenet-80'.split(),
    *b'data:image/png;base64, data:, file:///etc/passwd http://a/ "encoding_format":"base64"'.split(),
    *(b"1" * 40, b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc3", b"===="),
)

_PART = b'Content-Disposition: form-data; name="%s"\r\n\r\n'
FORM_WORDS = (
    *(b"--b\r\n", b"--b--\r\n", b"\r\n--b", b"\r\n", b"\r\n\r\n", *b"-- b ; \" = : *=utf-8''%61".split()),
    *(_PART % name for name in b"image labels label texts top_k truncate templates x".split()),
    *(_PART % b"", b'; filename="x"', b"; filename*=UTF-8''%ff", b'name="labels"', b"boundary=", b"charset="),
    *(b"Content-Type: text/plain; charset=utf-16\r\n", b"Content-Transfer-Encoding: base64\r\n"),
    *(b"\xff", b"\xed\xa0\x80", b"\0", b'\\"'),
)

_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP8z8AARAwQCgAf7gMBlQX3gAAAAABJRU5ErkJggg=="
)
_IMAGE = _PIXEL.encode()
JSON_SEEDS = (
    b'/classify application/json\n{"images": ["%s"], "labels": ["cat", "dog"]}' % _IMAGE,
    b'/classify application/json; charset=utf-8\n{"images": ["data:image/png;base64,%s"], "top_k": 1, '
    b'"model": null, "labels": ["\\u0061", "b"], "templates": ["a {}.", "imagenet-80"], "truncate": true}'
    % _IMAGE,
    b'/embed application/json\n{"texts": ["a cat", "\xe2\x82\xac"], "encoding_format": "base64", "truncate": true}',
    b'/embed application/json\n{"images": ["%s", "http://a/b.png"], "texts": ["x"]}' % _IMAGE,
    b'/embed application/json\n{"texts": [' + b'"a",' * 60 + b'"b"]}',
)

FORM_SEEDS = (
    b'/embed multipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; name="texts"\r\n\r\na\r\n'
    b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nb\xc3\xa9\r\n--b--\r\n',
    b'/classify multipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; name="image"; '
    b'filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\r\n--b\r\n"
    b'Content-Disposition: form-data; name="labels"\r\n\r\ncat\r\n--b\r\nContent-Disposition: form-data; '
    b'name="top_k"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name="templates"\r\n\r\na {}\r\n--b--\r\n',
    b"/classify?labels=a&labels=b&top_k=1 image/png\n\x89PNG\r\n\x1a\n",
    b'/embed multipart/form-data; boundary="b"; charset=us-ascii\n--b\r\nContent-Disposition: form-data; '
    b'name="truncate"\r\n\r\ntrue\r\n--b--\r\n',
)
