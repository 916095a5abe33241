# An application with Litestash in its image: `watch --exec` brings the database back if there is none,
# runs the application, and takes a last snapshot when that has ended. For platforms that run one
# container and have no volumes that last. Build deploy/docker/Dockerfile as "litestash" first, then:
#
#   docker build -f deploy/docker/exec.Dockerfile -t app-with-litestash deploy/docker
#   docker run --stop-timeout 60 -e LITESTASH_STORE=.. -e LITESTASH_HOST=app app-with-litestash

FROM litestash AS litestash

# Instead of these three lines: your application. It has to have a shell, since --exec calls one.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates sqlite3 && rm -rf /var/lib/apt/lists/*
RUN install -d -o 1000 -g 1000 /data /var/lib/litestash

COPY --from=litestash /usr/local/bin/litestash /usr/local/bin/litestash
ENV LITESTASH_STATE_DIR=/var/lib/litestash
USER 1000:1000
# In the form of a list: a shell between would not pass the signal on that asks to stop. For the same
# reason the command begins with exec.
ENTRYPOINT ["/usr/local/bin/litestash", "watch", "/data/app.db", "--restore-if-missing"]
CMD ["--exec", "exec sqlite3 /data/app.db 'PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS visits(at); INSERT INTO visits VALUES(datetime())'"]
