# Serves one store, read-only, to anybody who can reach port 8501:
#
#   docker build -t featureshift .
#   docker run --rm -p 8501:8501 --read-only --tmpfs /tmp featureshift                              # the shipped store
#   docker run --rm -p 8501:8501 --read-only --tmpfs /tmp -v "$PWD/my-store:/stores/my-store:ro" featureshift /stores
#
# Reviews need a place that can be written: mount the folder that holds the store without :ro, writable for uid 1000.
FROM python:3.11-slim
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /featureshift
COPY requirements-app.txt ./
RUN pip install --no-cache-dir --requirement requirements-app.txt
COPY .streamlit .streamlit
COPY app app
COPY LICENSE NOTICE ./
COPY store store
USER 1000
EXPOSE 8501
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://localhost:8501/_stcore/health', timeout=5)"]
ENTRYPOINT ["python", "-m", "streamlit", "run", "app/main.py", "--server.address", "0.0.0.0", "--server.port", "8501", \
            "--server.headless", "true", "--server.fileWatcherType", "none", "--"]
CMD ["store/demo"]
