"""Settings that suit one scene, found by trying them on small pictures of it.

It trains with `splat.api`; it may import all that stands below that.
"""
