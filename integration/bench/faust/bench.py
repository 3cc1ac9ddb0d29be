"""The benchmark's tasks on Faust. It takes the flags of job.go and speaks as job.go says."""

import argparse
import asyncio
import os
import sys

import faust

parser = argparse.ArgumentParser()
for flag in ("task", "variant", "client", "brokers", "name", "source", "out", "dir"):
    parser.add_argument("--" + flag, default="")
parser.add_argument("--records", type=int, default=0)
job = parser.parse_args()


def say(what):
    os.write(1, ("@bench " + what + "\n").encode())


app = faust.App(
    job.name,
    broker=";".join("kafka://" + b for b in job.brokers.split(",")),
    store="memory://",
    datadir=job.dir,
    topic_partitions=4,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
)
source = app.topic(job.source, key_type=str, value_type=bytes, key_serializer="raw", value_serializer="raw")
seen = 0


async def note():
    """Called for each record of the source once its effects are asked for."""
    global seen
    seen += 1
    if seen == job.records:
        asyncio.ensure_future(end())


async def end():
    await asyncio.sleep(0)  # the last event is acknowledged when its handler returns
    await app.consumer.commit()
    await app.producer.flush()
    say("end")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


if job.task == "count":
    counts = app.Table("counts", default=int, partitions=4, key_type=str, value_type=int)

    @app.agent(source)
    async def count(stream):
        async for key, _ in stream.items():
            if seen == 0:
                say("begin")
            counts[key] += 1
            await note()

else:
    sys.exit("no task " + job.task)

if __name__ == "__main__":
    say("client aiokafka")
    app.finalize()
    faust.Worker(app, loglevel="WARN").execute_from_commandline()
