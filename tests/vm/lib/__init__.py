# SPDX-License-Identifier: BSD-2-Clause
"""What the VM tests and the demo are made of: guests, QMP, network namespaces, the daemon."""
