"""An HTTP/1.1 server for ASGI applications, with limits of bytes and time. It knows nothing of CLIP.

server       uvicorn's listener and shutdown, around our connections
connections  all connections: their limit, and which one is closed for a new one
connection   one connection: bytes in, requests out, with a timeout for each phase
cycle        one request and its answer, in ASGI
requests     bytes -> a request, by httptools, with limits
answers      an answer -> bytes
"""
