"""Files that lie, and tensors that end where memory does: what readers and kernels make of them.

`python -m tests.hostile.fuzz` gives every reader of files from elsewhere millions of broken ones;
`python -m tests.hostile.kernels` calls every native entry with memory that ends at a page that
must not be touched. Each prints what it counted, and how to make a finding again.

The fuzzer is our own, not hypothesis' or atheris'. What finds mistakes here is knowledge of the
formats (checksums mended after a change, archives repacked, counts that lie), which neither has,
and a verdict on hangs, memory and crashes, for which inputs must run in processes of their own.
hypothesis makes some hundred inputs a second and shrinks values, where our seeds are a few hundred
bytes to begin with; atheris is guided by coverage of Python, while most of what is at stake lies
behind it in libraries that it does not see, and it has no wheels for our Pythons.
"""
