# versitygw for tests, where its official image cannot be pulled; it takes the same settings.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY --chmod=0755 versitygw /usr/local/bin/versitygw
COPY --chmod=0755 objects.sh /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]
