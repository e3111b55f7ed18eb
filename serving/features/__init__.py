"""Features by key over HTTP: the hot path of the server.

The road of a request: `app` reads its body within the limits; `requests` decodes it by the join's schema, or says at
which place it is wrong; `batching` holds it until the loop comes round and fetches all that wait in one; `responses`
writes the answer. `served` holds the joins that are answered, and exchanges them when their definitions change.
"""
