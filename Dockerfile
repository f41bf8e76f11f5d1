# CPU. docker build -t lowlight .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/photos" lowlight \
#     enhance night.jpg --output out.png
# The page and the API of docs/serve.md: docker build --target serve -t lowlight-serve .
# docker run --rm -p 127.0.0.1:8000:8000 lowlight-serve
FROM python:3.12-slim AS base

WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY lowlight_jax lowlight_jax
RUN pip install --no-cache-dir '.[web]' && rm -rf /src

RUN useradd --create-home lowlight
USER lowlight
# Compiled functions are kept here; any user may write, whom --user chooses.
ENV XDG_CACHE_HOME=/tmp/cache
WORKDIR /photos
ENTRYPOINT ["lowlight"]

FROM base AS serve
EXPOSE 8000
CMD ["serve", "--host", "0.0.0.0", "--no-browser"]

FROM base
CMD ["--help"]
