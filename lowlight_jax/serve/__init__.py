"""A local server: a page for people with dark photographs, and an API for programs.

`python -m lowlight_jax.serve`; docs/serve.md describes both. What is where: `server`
listens, `app` routes requests, `guard` refuses those of other sites, `uploads` writes
bodies to disk, `jobs` computes in one thread and deletes what is old, `pictures` makes
previews, `options` reads what a request asks for. `page/` is the page, plain files.
"""
