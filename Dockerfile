# CPU. docker build -t lowlight .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/photos" lowlight \
#     enhance night.jpg --output out.png
FROM python:3.12-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY lowlight_jax lowlight_jax
RUN pip install --no-cache-dir . && rm -rf /src

RUN useradd --create-home lowlight
USER lowlight
# Compiled functions are kept here; any user may write, whom --user chooses.
ENV XDG_CACHE_HOME=/tmp/cache
WORKDIR /photos
ENTRYPOINT ["lowlight"]
CMD ["--help"]
