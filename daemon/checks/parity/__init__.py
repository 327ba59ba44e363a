"""The parity check: live edits and probes, asked through the gateway and in process.

questions.py       what is asked: a sample of live edits, and of every suite's probes
gateway_client.py  asks the gateway over HTTP, as any client does
parity_run.py      asks both ways, a few questions at a step, and judges
"""
