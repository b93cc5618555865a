# What prepares the servers (passwords, topics, tables, roles, connector) and watches them. Built
# from the root of the repository, see docker-compose.yml, which gives each service its command.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
WORKDIR /app
COPY connectors/requirements.txt requirements.txt
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt
# A volume takes the owner of the folder on which it is mounted first. 1000 is the user of
# Confluent's images too: one owner for a password that two images read.
RUN useradd --uid 1000 --no-create-home app \
  && install -d -o app -g app -m 700 /run/password \
     /run/passwords/migration /run/passwords/connect /run/passwords/spark \
     /run/passwords/quality /run/passwords/dashboard /run/passwords/producer /run/passwords/watcher
COPY config.yml schema.avsc ./
COPY common common
COPY cassandra cassandra
COPY connectors connectors
ENV PYTHONPATH=/app/common:/app/connectors PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1
USER app
