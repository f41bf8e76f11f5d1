"""What the server answers to: the API's routes, and the page's files."""

import asyncio
import contextlib
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lowlight_jax.images.files import ImageFileError
from lowlight_jax.inference.methods import NoHolesError, read_mask
from lowlight_jax.serve.guard import Guard
from lowlight_jax.serve.jobs import NO_HOLES, Job, Store, Superseded, Upload
from lowlight_jax.serve.options import (
    clean_name,
    describe_networks,
    read_options,
    read_view,
)
from lowlight_jax.serve.pictures import (
    MOST_PX,
    WHOLE,
    Picture,
    encoded,
    preview_size,
    resized_mask,
)
from lowlight_jax.serve.refusals import Refused
from lowlight_jax.serve.uploads import (
    Limits,
    as_sentence,
    check_format,
    inspect,
    receive_body,
)

PAGE = Path(__file__).parent / "page"
_EVENT_EVERY_S = 0.15
_SWEEP_EVERY_S = 10.0
_SUBTYPES = {"jpg": "jpeg", "tif": "tiff"}  # the others are called as they end
_ZIP_CHUNK_BYTES = 2**18


def make_app(
    store: Store, limits: Limits, names: Collection[str], *, warm: bool = True
) -> Guard:
    """The application.

    Args:
      store: is started and stopped with it.
      limits: of uploads.
      names: hosts that it answers to, besides those of this machine.
      warm: see `Store.start`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        store.start(warm)
        sweeping = asyncio.create_task(_sweep(store))
        yield
        sweeping.cancel()
        await asyncio.to_thread(store.stop)

    routes = _Routes(store, limits)
    app = Starlette(
        routes=[
            Route("/healthz", routes.health),
            Route("/api/models", routes.models),
            Route("/api/jobs", routes.add_job, methods=["POST"]),
            Route("/api/jobs/{id}", routes.job),
            Route("/api/jobs/{id}", routes.drop_job, methods=["DELETE"]),
            Route("/api/jobs/{id}/events", routes.events),
            Route("/api/jobs/{id}/result", routes.result),
            Route("/api/results.zip", routes.zip),
            Route("/api/pictures", routes.add_picture, methods=["POST"]),
            Route("/api/pictures/{id}", routes.picture),
            Route("/api/pictures/{id}", routes.drop_picture, methods=["DELETE"]),
            Route("/api/pictures/{id}/mask", routes.set_mask, methods=["PUT"]),
            Route("/api/pictures/{id}/preview", routes.preview),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        exception_handlers={
            Refused: _refuse,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _mistake,
        },
        lifespan=lifespan,
    )
    # Around all of it: Starlette's own middleware stands inside the last resort.
    return Guard(app, names)


async def _sweep(store: Store) -> None:
    while True:
        await asyncio.sleep(_SWEEP_EVERY_S)
        await asyncio.to_thread(store.sweep)


class _Routes:
    """The API; what takes time is done in threads."""

    def __init__(self, store: Store, limits: Limits):
        self._store, self._limits = store, limits
        self._decoding = asyncio.Semaphore(1)  # of memory there is enough for one
        self._uploading = asyncio.Semaphore(8)  # pictures, which have no queue

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "ready": self._store.is_ready})

    async def models(self, request: Request) -> Response:
        networks = await asyncio.to_thread(describe_networks)
        limits = {
            "max_bytes": self._limits.max_bytes,
            "max_pixels": self._limits.max_pixels,
        }
        return JSONResponse({"models": networks, "limits": limits})

    # Jobs

    async def add_job(self, request: Request) -> Response:
        query = dict(request.query_params)
        name, picture = query.pop("name", ""), query.pop("picture", None)
        options = await asyncio.to_thread(read_options, query)
        source = self._store.find(Upload, picture) if picture else None
        self._store.reserve()
        try:
            make = partial(self._new_job, source, name, options)
            job = await self._received(request if source is None else None, make)
            await asyncio.to_thread(self._store.keep, job)
        finally:
            self._store.release()
        location = f"/api/jobs/{job.id}"
        return JSONResponse(
            {
                "id": job.id,
                "events": f"{location}/events",
                "result": f"{location}/result",
            },
            202,
            {"Location": location},
        )

    def _new_job(
        self, source: Upload | None, name: str, options: Any, name_id: str, folder: Path
    ) -> Job:
        if source is None:
            size, suffix = inspect(folder / "upload", self._limits)
            stem = clean_name(name)
        else:
            size, suffix, stem = source.size, source.suffix, source.name
        job = Job(name_id, folder, stem, size, suffix, options=options)
        if source is not None:  # it may be deleted before the job's turn
            try:
                job.upload.hardlink_to(source.upload)
                if source.mask.exists():
                    job.mask.hardlink_to(source.mask)
            except OSError as error:
                raise _expired() from error
        check_format(job.result.suffix, size)
        return job

    async def job(self, request: Request) -> Response:
        return JSONResponse(self._status(self._find(Job, request)))

    def _status(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "state": job.state,
            "stage": job.stage if job.state == "running" else "",
            "fraction": round(job.fraction, 4),
            "ahead": self._store.place(job) if job.state == "queued" else 0,
            "name": job.result_name,
            "error": job.error,
            "notes": list(job.notes),
        }

    async def events(self, request: Request) -> Response:
        job = self._find(Job, request)

        async def stream() -> AsyncIterator[str]:
            while True:
                busy = job.is_busy  # before the status, which may be the last
                status = self._status(job)
                event = "progress" if busy else status["state"]
                yield f"event: {event}\ndata: {json.dumps(status)}\n\n"
                if not busy:
                    return
                await asyncio.sleep(_EVENT_EVERY_S)

        headers = {"X-Accel-Buffering": "no"}  # nginx would keep events back
        return StreamingResponse(stream(), 200, headers, "text/event-stream")

    async def result(self, request: Request) -> Response:
        job = self._finished(request.path_params["id"])
        suffix = job.result.suffix.lstrip(".")
        return FileResponse(
            job.result,
            media_type=f"image/{_SUBTYPES.get(suffix, suffix)}",
            filename=job.result_name,
        )

    def _finished(self, name: str) -> Job:
        job = self._store.find(Job, name)
        if job.state == "failed":
            raise Refused(422, job.error)
        if job.state != "done":
            raise Refused(409, "The photograph is not finished; ask again later.")
        return job

    async def drop_job(self, request: Request) -> Response:
        await asyncio.to_thread(self._store.drop, self._find(Job, request))
        return Response(status_code=204)

    async def zip(self, request: Request) -> Response:
        names = dict.fromkeys(request.query_params.getlist("job"))
        if not names:
            raise Refused(422, "No job is named; expected job=ID, once or several.")
        jobs = [self._finished(name) for name in names]
        return StreamingResponse(
            _zipped(jobs),
            headers={"Content-Disposition": 'attachment; filename="enhanced.zip"'},
            media_type="application/zip",
        )

    # Pictures

    async def add_picture(self, request: Request) -> Response:
        name = clean_name(request.query_params.get("name", ""))

        def make(name_id: str, folder: Path) -> Upload:
            size, suffix = inspect(folder / "upload", self._limits)
            return Upload(name_id, folder, name, size, suffix)

        async with self._uploading:
            upload = await self._received(request, make, self._decode)
        await asyncio.to_thread(self._store.keep, upload)
        return JSONResponse(_described(upload), 201)

    async def _decode(self, upload: Upload) -> None:
        async with self._decoding:
            try:
                upload.picture = await asyncio.to_thread(Picture.read, upload.upload)
            except ImageFileError as error:
                raise Refused(422, as_sentence(error)) from error

    async def picture(self, request: Request) -> Response:
        return JSONResponse(_described(self._find(Upload, request)))

    async def drop_picture(self, request: Request) -> Response:
        await asyncio.to_thread(self._store.drop, self._find(Upload, request))
        return Response(status_code=204)

    async def set_mask(self, request: Request) -> Response:
        upload = self._find(Upload, request)

        def make(name_id: str, folder: Path) -> Path:
            inspect(folder / "upload", self._limits)
            return folder

        async def set_mask(folder: Path) -> None:
            async with self._decoding:
                await asyncio.to_thread(_set_mask, upload, folder / "upload")

        folder = await self._received(request, make, set_mask)
        await asyncio.to_thread(_remove, folder)
        return Response(status_code=204)

    async def preview(self, request: Request) -> Response:
        query = dict(request.query_params)
        view = read_view(query.pop("view")) if "view" in query else WHOLE
        is_fast = query.pop("fast", "") == "1"
        options = await asyncio.to_thread(read_options, query)
        upload = self._find(Upload, request)
        if options.leaves_alone and view == WHOLE:  # need not wait for what computes
            made = await asyncio.to_thread(encoded, upload.picture.reduced)
            return Response(made[0], media_type=made[1])
        future = self._store.preview(upload, options, view, is_fast)
        try:
            content, media_type = await asyncio.wrap_future(future)
        except Superseded as error:
            raise Refused(409, "A later preview was asked for.") from error
        except NoHolesError as error:
            raise Refused(422, NO_HOLES) from error
        except ImageFileError as error:
            raise _expired() from error
        return Response(content, media_type=media_type)

    def _find(self, kind: type, request: Request) -> Any:
        return self._store.find(kind, request.path_params["id"])

    async def _received(
        self, request: Request | None, make: Callable, prepare: Callable | None = None
    ) -> Any:
        """What `make(id, folder)` makes of the body, if one is wanted.

        Where that fails no folder is left.
        """
        name, folder = self._store.new_folder()
        try:
            if request is not None:
                await receive_body(
                    request.stream(),
                    request.headers.get("content-length"),
                    folder / "upload",
                    self._limits,
                )
            made = await asyncio.to_thread(make, name, folder)
            if prepare is not None:
                await prepare(made)
            return made
        except BaseException:
            _remove(folder)
            raise


def _set_mask(upload: Upload, file: Path) -> None:
    """Makes a file the mask of a picture, or, all black, takes the mask away."""
    try:
        mask = read_mask(file.read_bytes())
    except ValueError as error:
        raise Refused(422, as_sentence(error)) from error
    if not mask.any():
        upload.picture.mask = None
        upload.mask.unlink(missing_ok=True)
        return
    upload.picture.mask = resized_mask(mask, preview_size(*mask.shape, MOST_PX))
    file.replace(upload.mask)


def _described(upload: Upload) -> dict[str, Any]:
    h, w = upload.size
    photo = upload.picture.reduced
    return {
        "id": upload.id,
        "name": f"{upload.name}{upload.suffix}",
        "width": w,
        "height": h,
        "notes": [as_sentence(note) for note in photo.notes],
    }


class _Sink(io.RawIOBase):
    """What a zip is written to, and taken from bit by bit; it cannot be rewound."""

    def __init__(self) -> None:
        self._content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:
        self._content += content
        return len(content)

    def take(self) -> bytes:
        content, self._content = bytes(self._content), bytearray()
        return content


def _zipped(jobs: list[Job]) -> Iterator[bytes]:
    """A zip of the results as it is written, of names that differ; not compressed."""
    sink, taken = _Sink(), set()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for job in jobs:
            first = name = Path(job.result_name)
            count = 1
            while str(name).lower() in taken:
                count += 1
                name = first.with_stem(f"{first.stem}_{count}")
            taken.add(str(name).lower())
            with archive.open(str(name), "w") as entry, job.result.open("rb") as file:
                while chunk := file.read(_ZIP_CHUNK_BYTES):
                    entry.write(chunk)
                    yield sink.take()
    yield sink.take()


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / "upload").unlink(missing_ok=True)
        folder.rmdir()


def _expired() -> Refused:
    return Refused(404, "The picture has been deleted meanwhile; add it again.")


# Errors: one sentence each


async def _refuse(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": error.sentence}, error.status, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    sentences = {
        404: "There is nothing at this address.",
        405: "This address does not take such a request.",
    }
    sentence = sentences.get(error.status_code, "The request cannot be served.")
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _mistake(request: Request, error: Exception) -> Response:
    sentence = "Something went wrong in the server; its own output says what."
    return JSONResponse({"error": sentence}, 500)
