"""bootlib.py for tests in a mount namespace and a network namespace of their own, with network/netlib.py's other namespace for servers and
the cable to it: `from insidelib import *` instead of bootlib's."""
import os, sys

environment = dict(os.environ)
sys.argv[1] = os.path.abspath(sys.argv[1])  # the libraries go to folders of their own
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../network"))
import netlib  # runs the test again inside
os.environ.clear()
os.environ.update(environment)  # images and kernels are kept in the real home
from bootlib import *

at_end.append(netlib.clean_up)
sys.excepthook = lambda *what: (sys.__excepthook__(*what), done(1))
