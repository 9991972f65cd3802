"""HAN-ROCK's protocol: primary tasks with auxiliary ones, random search with median stopping, and what it compares.

Source: sections 4.2 to 4.4 and appendices A.2 to A.6 of the paper. Where it is silent, these readings hold:

- *Optimiser*: Adam. *L2* is the weight of the sum of squares of all weight matrices, embeddings excepted, and is 0 in
  half of the trials: Table 6 prints 0 as the lower end of a logarithmic scale, and half of Table 7's best are 0.
- *Development performance* of a trial is its best over epochs; the network of that epoch is tested.
- *Heads* of numbers start at the mean of their training targets.
- *Loss* of numbers is the squared error; the paper names none, only its metric, the absolute error.
- *Minibatches* hold runs of consecutive talkturns (`run_length`) where a turn's context is expensive: contexts of
  neighbours overlap, and each talkturn is encoded once. Runs of one are the usual shuffle.
"""

# ruff: noqa: F401 - the names of the package, from its modules
from uncertain_affect.papers.rock.protocol import settings
from uncertain_affect.papers.rock.search import Cell, best_network, errors, in_order, retrain_all, score, search_all
from uncertain_affect.papers.rock.tasks import load, narratives, prepare, problem, targets
