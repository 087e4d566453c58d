"""What every run needs: certificates, tokens and the backend."""

import base64
import hashlib
import hmac
import json
import os
import time

from .base import HOST, BenchError, sh, which
from .process import Proc, wait_port_free


def b64u(b):
    return base64.urlsafe_b64encode(b).rstrip(b"=").decode()


class Keys:
    """Self-signed P-256 certificate, and an HS256 and an RS256 JWT key."""
    issuer = "bench-issuer"
    audience = "bench-api"
    secret = "0123456789abcdef0123456789abcdef"     # a test key, no secret

    def __init__(self, d):
        self.cert = os.path.join(d, "cert.pem")
        self.key = os.path.join(d, "key.pem")
        self.pem = os.path.join(d, "both.pem")
        self.rsa = os.path.join(d, "rsa.pem")
        self.rsapub = os.path.join(d, "rsa.pub.pem")
        sh(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout",
            "-out", self.key])
        sh(["openssl", "req", "-x509", "-new", "-sha256", "-key", self.key,
            "-out", self.cert, "-days", "30", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,DNS:api.example.test,"
            "IP:127.0.0.1"])
        with open(self.pem, "w") as o:
            for p in (self.cert, self.key):
                with open(p) as f:
                    o.write(f.read())
        sh(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt",
            "rsa_keygen_bits:2048", "-out", self.rsa])
        sh(["openssl", "rsa", "-in", self.rsa, "-pubout", "-out", self.rsapub])
        mod = sh(["openssl", "rsa", "-in", self.rsa, "-noout", "-modulus"])
        n = bytes.fromhex(mod.decode().strip().split("=", 1)[1])
        self.jwks = {
            "HS256": {"keys": [{"kty": "oct", "alg": "HS256", "kid": "k1",
                                "k": b64u(self.secret.encode())}]},
            "RS256": {"keys": [{"kty": "RSA", "alg": "RS256", "kid": "k1",
                                "use": "sig", "n": b64u(n), "e": "AQAB"}]},
        }
        # TLS clients offer one suite and one group, so that every gateway
        # does the same cryptography whatever it would prefer.
        self.client_cnf = os.path.join(d, "client-openssl.cnf")
        with open(self.client_cnf, "w") as f:
            f.write("openssl_conf = d\n[d]\nssl_conf = s\n[s]\n"
                    "system_default = x\n[x]\nMinProtocol = TLSv1.3\n"
                    "Ciphersuites = TLS_AES_128_GCM_SHA256\n"
                    "Groups = X25519\n")

    def token(self, alg, sub, exp=None, iss=None, tamper=False):
        now = int(time.time())
        head = b64u(json.dumps({"alg": alg, "typ": "JWT", "kid": "k1"},
                               separators=(",", ":")).encode())
        body = b64u(json.dumps({
            "iss": iss or self.issuer, "sub": sub, "aud": self.audience,
            "iat": now, "exp": exp or now + 86400,
            "scope": "users:read orders:read"},
            separators=(",", ":")).encode())
        text = (head + "." + body).encode()
        if alg == "HS256":
            sig = hmac.new(self.secret.encode(), text, hashlib.sha256).digest()
        else:
            sig = sh(["openssl", "dgst", "-sha256", "-sign", self.rsa], text)
        if tamper:
            sig = bytes([sig[0] ^ 1]) + sig[1:]
        return text.decode() + "." + b64u(sig)


SMALL = ('{"id":42,"name":"Ada Lovelace","email":"ada@example.test",'
         '"roles":["admin","user"],"active":true,'
         '"created":"2024-01-02T03:04:05Z","note":"hello world"}')
BIG = 64 * 1024
HUGE = 10 * 1024 * 1024


class Backend:
    """nginx with fixed answers: /users /orders /big /huge /inspect."""

    def __init__(self, d, port, cpu):
        self.port = port
        root = os.path.join(d, "files")
        os.makedirs(root)
        self.sha = {}
        block = hashlib.sha256(b"bench").digest() * 2048            # 64 KiB
        for name, size in (("big", BIG), ("huge", HUGE)):
            data = (block * (size // len(block) + 1))[:size]
            with open(os.path.join(root, name), "wb") as f:
                f.write(data)
            self.sha[name] = hashlib.sha256(data).hexdigest()
        inspect = ("{\"uri\":\"$request_uri\",\"host\":\"$http_host\","
                   "\"gw_req\":\"$http_x_gw_req\","
                   "\"internal\":\"$http_x_internal\","
                   "\"xff\":\"$http_x_forwarded_for\","
                   "\"conn\":\"$connection\","
                   "\"conn_requests\":\"$connection_requests\","
                   "\"protocol\":\"$server_protocol\"}")
        conf = os.path.join(d, "backend.conf")
        with open(conf, "w") as f:
            f.write("""
daemon off; master_process off; worker_processes 1;
pid {d}/backend.pid; error_log {d}/backend.err warn;
events {{ worker_connections 16384; multi_accept on; }}
http {{
  access_log off; keepalive_timeout 3600s; keepalive_requests 1000000000;
  sendfile on; tcp_nodelay on; tcp_nopush off; server_tokens off;
  open_file_cache max=16 inactive=1h; open_file_cache_valid 1h;
  client_body_temp_path {d}/b1; proxy_temp_path {d}/b2; fastcgi_temp_path {d}/b3;
  uwsgi_temp_path {d}/b4; scgi_temp_path {d}/b5;
  default_type application/json;
  server {{
    listen {host}:{port} backlog=4096 reuseport;
    add_header X-Backend-Secret s3cr3t;
    location /users   {{ return 200 '{small}'; }}
    location /orders  {{ return 200 '{small}'; }}
    location /inspect {{ return 200 '{inspect}'; }}
    location = /big   {{ root {root}; default_type application/octet-stream; }}
    location = /huge  {{ root {root}; default_type application/octet-stream; }}
    location /        {{ return 404 '{{"error":"backend has no such path"}}'; }}
  }}
}}
""".format(d=d, host=HOST, port=port, small=SMALL, inspect=inspect, root=root))
        binary = which("BENCH_BACKEND_NGINX", "nginx", "/usr/sbin/nginx")
        if not binary:
            raise BenchError("no nginx for the backend (run setup_peers.sh)")
        wait_port_free(port)
        self.proc = Proc([binary, "-p", d, "-c", conf], cpu=cpu, name="backend",
                         stderr=os.path.join(d, "backend.stderr"))
        self.proc.wait_port(port)
