"""Words that mean something to a parser, and texts and requests from which mutations begin."""

from __future__ import annotations

IMAGE_WORDS = (
    *(
        b"\xff" + bytes([marker])
        for marker in (0xC0, 0xC2, 0xC4, 0xC9, 0xCC, 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE1)
    ),
    *(b"\xff\xda\0\x08\x01\x01\0\0\x3f\0", b"\xff\xdd\0\4\0\1", b"\xff\xe1\0\x08Exif\0\0", b"\xff\xfe\0\2"),
    *(b"IHDR", b"IDAT", b"fdAT", b"fcTL", b"acTL", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"eXIf", b"IEND"),
    *(b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"ICCP", b"EXIF", b"XMP "),
    *(b"II*\0", b"MM\0*", b"Exif\0\0", b"ftyp", b"meta", b"iloc", b"ispe", b"av1C", b"mdat"),
)

TEXT_WORDS = (
    *(
        "a photo of a cat",
        "cat",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\r",
        "\u2028",
        "\x85",
        "\xa0",
        "\u3000",
        "\0",
        "\x1b[0m",
    ),
    *(
        "&amp;",
        "amp;",
        "&",
        "&lt;",
        "&#",
        "&#x",
        "38;",
        "&#38;",
        "&#x26;",
        "&#0;",
        "&#xD800;",
        "&#1114112;",
        "1",
        "0",
    ),
    *("&AMP;", "&notin;", "&NotEqualTilde;", "&CounterClockwiseContourIntegral;", "<", "<b>", "</"),
    *("ï¼†", "＆ａｍｐ；", "＃", "３８；", "ﬁ", "ﬀ", "\ufeff", "\ufffd", "\ufffe", "\uffff"),
    *(
        "Ã©",
        "â€™",
        "Ã¢â‚¬â„¢",
        "ÃƒÂ©",
        "\xc2\xa0",
        "Ã ",
        "Ð¿Ñ€",
        "æ—¥",
        "\x81\x8d",
        "Â",
        "ä½ å¥½",
        "´",
        "™",
        "‚‘’“”",
    ),
    *(
        "\u0300",
        "\u0345",
        "\u1ab0",
        "\u20dd",
        "\u0e33",
        "\u1161\u11a8",
        "\uac00",
        "\u202e",
        "\u200d",
        "\u200b",
    ),
    *(
        "👨‍👩‍👧‍👦",
        "🇩🇪",
        "🏴\U000e0067\U000e007f",
        "\ud83d",
        "\udc00",
        "\U0010ffff",
        "İ",
        "ß",
        "ς",
        "ﷺ",
        "\u0130\u0307",
    ),
    *(
        "[CLS]",
        "[SEP]",
        "[UNK]",
        "[MASK]",
        "##ing",
        "<start_of_text>",
        "<end_of_text>",
        "_",
        "-",
        "...",
        "'s",
    ),
)

JSON_WORDS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"null",
        b"true",
        b"1e999",
        b"-0",
        b"0.1e-9",
        b"1" * 40,
        b"NaN",
    ),
    *(b'"images":', b'"labels":', b'"templates":', b'"texts":', b'"top_k":', b'"model":', b'"truncate":true'),
    *(
        b"\\u0061",
        b"\\ud800",
        b"\\u0000",
        b'"a"',
        b'["a","b"]',
        b'{"a":',
        b"[[",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
    ),
    *(
        b"data:image/png;base64,",
        b"data:,",
        b"file:///etc/passwd",
        b"http://a/",
        b"====",
        b"imagenet-80",
        b"{}",
        b"\xc3",
    ),
    b'"encoding_format":"base64"',
)

_PART = b'Content-Disposition: form-data; name="%s"\r\n\r\n'
FORM_WORDS = (
    *(
        b"--b\r\n",
        b"--b--\r\n",
        b"\r\n--b",
        b"\r\n",
        b"\r\n\r\n",
        b"--",
        b"b",
        b";",
        b'"',
        b"=",
        b":",
        b"*=utf-8''%61",
    ),
    *(
        _PART % name
        for name in (b"image", b"labels", b"label", b"texts", b"top_k", b"truncate", b"templates", b"x", b"")
    ),
    *(
        b'; filename="x"',
        b"; filename*=UTF-8''%ff",
        b'name="labels"',
        b"Content-Type: text/plain; charset=utf-16\r\n",
    ),
    *(
        b"Content-Transfer-Encoding: base64\r\n",
        b"boundary=",
        b"charset=",
        b"\xff",
        b"\xed\xa0\x80",
        b"\0",
        b'\\"',
    ),
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
