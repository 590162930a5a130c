"""An HTTP/1.1 server for ASGI applications, with bounds on bytes and on time. It knows nothing of CLIP.

server       uvicorn's listener and its end, around our connections
connections  all of them: how many there may be, and which one makes room for another
connection   one of them: bytes in, requests out, each phase in its time
cycle        one request and its answer, as ASGI sees them
requests     bytes -> a request, by httptools, bounded
answers      an answer -> bytes
"""
