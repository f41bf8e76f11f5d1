"""Videos: read, enhanced frame by frame and steadily, written; the extra `[video]`.

A video goes through `reader` (frames as RGB), `steady` (each enhanced, in the light of
those before it, with `scene` and `temporal`) and `writer` (segments, joined to a file).
`files` has all of it in order, with `parts` for work that was cut off; `live` is for
cameras and streams.
"""
