"""What generated scenes are drawn and written with: the built-in one, and those of benchmarks.

`solids` is where things are and what rays meet first, `pictures` sends rays through pixels,
`colours` is what light becomes, `cameras` is who looks, and `folders` puts it on disk.
"""
