"""What a caller may ask and what is answered: the one definition that client, network APIs and application share.

Checks, the OpenAPI document and the arguments of the client follow from these types. No Pillow, no server.
"""
