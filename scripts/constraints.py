"""Print constraints.txt anew: the exact versions of everything that stands in this environment.

.venv/bin/python scripts/constraints.py > constraints.txt
"""

from importlib.metadata import distributions

OURSELVES = {"upkeep-llm", "upkeep-llm-demo", "pip", "setuptools", "wheel"}


def main() -> None:
    """Print a heading and one `name==version` a line, sorted, without local build tags such as `+cpu`."""
    versions = {dist.metadata["Name"]: dist.version.partition("+")[0] for dist in distributions()}
    print("# Exact versions that `make setup` and the Dockerfile install; renew with `make constraints`.")
    for name in sorted(versions.keys() - OURSELVES, key=str.lower):
        print(f"{name}=={versions[name]}")


if __name__ == "__main__":
    main()
