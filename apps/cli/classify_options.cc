#include "classify_options.h"

#include "sequence_input.h"

namespace lcsm::cli {

void AddClassifyOptions(App& app, ClassifyArguments& a) {
  AddRequiredModel(app, a.model,
                   "Folder of a fine-tuned model, or its installed name");
  const std::string as_trained = "As the model was trained";
  AddSequenceInput(app, a.input);
  app.add_option("--pooling", a.pooling,
                 "Which positions the head reads; usual: last for a Hugging "
                 "Face head, pool (the mean) for a SequenceDecoder")
      ->type_name("NAME")
      ->check(OneOf({"usual", "last", "first", "pool", "sum"}))
      ->capture_default_str()
      ->group(as_trained);
  app.add_option("--special-tokens", a.special_tokens,
                 "Around each sequence; usual: sep ([SEP] behind it) for a "
                 "Hugging Face head, none for a SequenceDecoder")
      ->type_name("NAME")
      ->check(OneOf({"usual", "none", "sep", "cls-sep"}))
      ->capture_default_str()
      ->group(as_trained);
  app.add_option("--pad-to", a.pad_to,
                 "Put [PAD] before shorter sequences, up to N tokens")
      ->type_name("N")
      ->check(WholeIn(1, UINT64_MAX))
      ->group(as_trained);
  const std::string group = "What comes out";
  app.add_option("--output", a.output, "Where a line a sequence goes")
      ->type_name("FILE")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--comments", a.comments,
               "Begin with # lines on program, model and settings")
      ->group(group);
  AddQuietOption(app, a.quiet)->group(group);
  AddExecutionOptions(app, a.execution);
}

}  // namespace lcsm::cli
